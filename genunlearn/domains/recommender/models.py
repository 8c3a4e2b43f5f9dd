"""Networks that give every user and every item a vector; a score is the product of the two.

BPR         factors of users and items
LightGCN    factors, averaged over what is near in the graph of interactions
VBPR        factors, and what users think of the features of an item
KNNFusion   LightGCN, and item features that spread over the neighbours of each modality; in the place of MGCN
Sharded     several of one kind, each for its own users

Each is called with the numbers of users ``(batch,)`` and returns their vectors ``(batch, d)`` and those of all items
``(items, d)``. A user's interactions are no weights: those that see the graph are told with `set_edges`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Vectors = tuple[Tensor, Tensor]
NEIGHBOURS = 10
"""Of an item in a modality, as in MGCN."""
ROWS = 1024
"""Items whose neighbours are looked for at once."""


class Graph(Protocol):
    """What sees the interactions."""

    def set_edges(self, pairs: Tensor) -> None:
        """Take the interactions, ``(pairs, 2)`` numbers of user and item."""


class BPR(nn.Module):
    """Matrix factorisation.

    Source: Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback" (UAI 2009).
    """

    def __init__(self, users: int, items: int, features: Mapping[str, Tensor], width: int, layers: int) -> None:
        """`features` and `layers` are for others."""
        super().__init__()
        self.users, self.items = nn.Embedding(users, width), nn.Embedding(items, width)

    def forward(self, users: Tensor) -> Vectors:
        """Vectors of `users` and of all items."""
        return self.users(users), self.items.weight


class LightGCN(BPR):
    """Factors propagated over the graph of interactions, mean over the layers.

    With R the interactions and D the degrees, ``E_{k+1} = D^-1/2 A D^-1/2 E_k``, A having R and its transpose off the
    diagonal.

    Source: He et al., "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation" (SIGIR 2020).
    """

    def __init__(self, users: int, items: int, features: Mapping[str, Tensor], width: int, layers: int) -> None:
        """`layers`: how often vectors are propagated."""
        super().__init__(users, items, features, width, layers)
        self.layers = layers
        self._sizes = users, items
        self._edges = torch.empty(0, 2, dtype=torch.long)
        self._matrices: tuple[Tensor, Tensor] | None = None

    def set_edges(self, pairs: Tensor) -> None:
        """Take the interactions."""
        self._edges, self._matrices = pairs, None

    def propagated(self) -> Vectors:
        """Vectors of all users and all items."""
        to_users, to_items = self.matrices
        users, items = [self.users.weight], [self.items.weight]
        for _ in range(self.layers):
            above, below = to_users @ items[-1], to_items @ users[-1]
            users.append(above)
            items.append(below)
        return torch.stack(users).mean(0), torch.stack(items).mean(0)

    def forward(self, users: Tensor) -> Vectors:
        """Vectors of `users` and of all items."""
        every, items = self.propagated()
        return every[users], items

    @property
    def matrices(self) -> tuple[Tensor, Tensor]:
        """The normalised interactions ``(users, items)``, and their transpose."""
        device = self.items.weight.device
        if self._matrices is None or self._matrices[0].device != device:
            edges = self._edges.to(device)
            degrees = [edges[:, n].bincount(minlength=size).float() for n, size in enumerate(self._sizes)]
            values = (degrees[0][edges[:, 0]] * degrees[1][edges[:, 1]]).rsqrt()
            matrix = torch.sparse_coo_tensor(edges.T, values, self._sizes, check_invariants=False).coalesce()
            self._matrices = matrix, matrix.t().coalesce()
        return self._matrices


class VBPR(BPR):
    """Factors, and a projection of the items' features with factors of its own.

    ``x_ui = b_i + g_u g_i + t_u (E f_i) + c f_i``; f_i are the features of all modalities side by side.

    Source: He, McAuley, "VBPR: Visual Bayesian Personalized Ranking from Implicit Feedback" (AAAI 2016).
    """

    features: Tensor

    def __init__(self, users: int, items: int, features: Mapping[str, Tensor], width: int, layers: int) -> None:
        """`features`: at least one modality; `layers` is for others."""
        super().__init__(users, items, features, width, layers)
        rows = torch.cat([features[name] for name in sorted(features)], 1)
        self.register_buffer("features", F.normalize(rows))
        self.tastes = nn.Embedding(users, width)
        self.projection = nn.Linear(rows.shape[1], width, bias=False)
        self.looks = nn.Linear(rows.shape[1], 1, bias=False)
        self.biases = nn.Embedding(items, 1)

    def withdraw(self, items: Tensor) -> None:
        """Erase the features of items."""
        self.features[items] = 0

    def forward(self, users: Tensor) -> Vectors:
        """Vectors of `users` and of all items."""
        biases = self.biases.weight + self.looks(self.features)
        ones = biases.new_ones(len(users), 1)
        own = torch.cat([self.users(users), self.tastes(users), ones], 1)
        return own, torch.cat([self.items.weight, self.projection(self.features), biases], 1)


class KNNFusion(LightGCN):
    """LightGCN whose items also have features, spread over their nearest neighbours in each modality.

    For each modality m the features are projected, let through by the item's own factors, ``h_m = e_i * sigmoid(W_m
    f_m)``, and averaged over the item's neighbours by cosine; users get the mean of their items. Modalities are fused
    by attention, and added to LightGCN's vectors.

    Source: after Yu et al., "Multi-View Graph Convolutional Network for Multimedia Recommendation" (MGCN, ACM MM 2023).
    Deviations: no contrastive loss, and one attention for both users and items.
    """

    def __init__(self, users: int, items: int, features: Mapping[str, Tensor], width: int, layers: int) -> None:
        """`features`: at least one modality."""
        super().__init__(users, items, features, width, layers)
        self.modalities = tuple(sorted(features))
        self.projections = nn.ModuleDict()
        for name in self.modalities:
            rows = F.normalize(features[name])
            self.register_buffer(f"features_{name}", rows)
            self.projections[name] = nn.Linear(rows.shape[1], width)
        self.attention = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1, bias=False))
        self._neighbours: dict[str, Tensor] = {}

    def withdraw(self, items: Tensor) -> None:
        """Erase the features of items, which then are nobody's neighbours."""
        for name in self.modalities:
            self.get_buffer(f"features_{name}")[items] = 0
        self._neighbours = {}

    def forward(self, users: Tensor) -> Vectors:
        """Vectors of `users` and of all items."""
        every, items = self.propagated()
        to_users, _ = self.matrices
        of_items, of_users = [], []
        for name in self.modalities:
            gate = torch.sigmoid(self.projections[name](self.get_buffer(f"features_{name}")))
            spread = self.neighbours(name) @ (self.items.weight * gate)
            of_items.append(spread)
            of_users.append(to_users @ spread)
        return (every + self._fused(of_users))[users], items + self._fused(of_items)

    def neighbours(self, name: str) -> Tensor:
        """Each item's mean over its neighbours in a modality, a sparse ``(items, items)``."""
        features = self.get_buffer(f"features_{name}")
        if name not in self._neighbours or self._neighbours[name].device != features.device:
            self._neighbours[name] = nearest(features)
        return self._neighbours[name]

    def _fused(self, views: list[Tensor]) -> Tensor:
        stacked = torch.stack(views)
        return (self.attention(stacked).softmax(0) * stacked).sum(0)


class Sharded(nn.Module):
    """Several networks of one kind, each taught by the interactions of its own users alone.

    A user is served by the network of the own shard. Vectors of different networks stand in different places of one
    long vector, so that the product of a user and an item is that of the user's network.
    """

    shards: Tensor

    def __init__(self, parts: nn.ModuleList, shards: Tensor) -> None:
        """`shards`: the number of each user's part, ``(users,)``."""
        super().__init__()
        self.parts = parts
        self.register_buffer("shards", shards)

    def set_edges(self, pairs: Tensor) -> None:
        """Give each part the interactions of its users."""
        own = self.shards.cpu()[pairs[:, 0].cpu()]
        for number, part in enumerate(self.parts):
            tell(part, pairs[(own == number).to(pairs.device)])

    def withdraw(self, items: Tensor) -> None:
        """Erase the features of items in every part."""
        for part in self.parts:
            erase_features(part, items)

    def forward(self, users: Tensor) -> Vectors:
        """Vectors of `users` and of all items; parts that none of `users` belongs to are not computed."""
        own = self.shards[users]
        present = own.unique().tolist()
        if len(present) == 1:
            return self.parts[present[0]](users)
        columns, all_items = [], []
        for number in present:
            vectors, items = self.parts[number](users)
            columns.append(vectors * (own == number)[:, None])
            all_items.append(items)
        return torch.cat(columns, 1), torch.cat(all_items, 1)


KINDS: dict[str, type[BPR]] = {"bpr": BPR, "lightgcn": LightGCN, "vbpr": VBPR, "knn_fusion": KNNFusion}
NEED_FEATURES = ("vbpr", "knn_fusion")


def tell(module: Any, pairs: Tensor) -> None:
    """Tell a network the interactions, if it sees them."""
    if isinstance(module, LightGCN | Sharded):
        module.set_edges(pairs)


def erase_features(module: nn.Module, items: Tensor) -> None:
    """Erase the features of items, where the network has some."""
    if isinstance(module, VBPR | KNNFusion | Sharded):
        module.withdraw(items)


@torch.no_grad()
def reset(module: nn.Module) -> None:
    """Draw all weights anew: Xavier's for vectors, torch's own for projections."""
    for part in module.modules():
        if isinstance(part, nn.Embedding):
            nn.init.xavier_uniform_(part.weight)
        elif isinstance(part, nn.Linear):
            part.reset_parameters()


def split(module: nn.Module, shards: Tensor) -> Sharded:
    """A network for each shard of users, of the same kind as `module` and with its weights."""
    parts = nn.ModuleList(copy.deepcopy(module) for _ in range(int(shards.max()) + 1))
    return Sharded(parts, shards)


@torch.no_grad()
def nearest(features: Tensor, count: int = NEIGHBOURS) -> Tensor:
    """The mean over each row's nearest rows by cosine, a sparse ``(rows, rows)``.

    A row of zeros has no neighbours and is none; rows that have fewer than `count` others share what there is.
    """
    unit, size = F.normalize(features), len(features)
    is_empty = ~features.any(1)
    count = min(count, max(size - 1, 1))
    rows, columns = [], []
    for start in range(0, size, ROWS):
        some = torch.arange(start, min(start + ROWS, size), device=features.device)
        likeness = unit[some] @ unit.T
        likeness[torch.arange(len(some)), some] = -torch.inf
        likeness[:, is_empty] = -torch.inf
        likeness[is_empty[some]] = -torch.inf
        values, found = likeness.topk(count, dim=1)
        is_there = values > -torch.inf
        rows.append(some[:, None].expand_as(found)[is_there])
        columns.append(found[is_there])
    row, column = torch.cat(rows), torch.cat(columns)
    share = 1 / row.bincount(minlength=size).clamp_min(1).float()
    return torch.sparse_coo_tensor(
        torch.stack([row, column]), share[row], (size, size), check_invariants=False
    ).coalesce()
