"""A recommender: a network for vectors, the interactions that it knows, and the loss that it is taught by."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import torch
from accelerate import PartialState
from torch import Tensor
from torch.nn import functional as F

from genunlearn.contracts import Domain, Examples
from genunlearn.domains.recommender.models import KINDS, NEED_FEATURES, Sharded, erase_features, reset, split, tell
from genunlearn.errors import DataError, MismatchError, SourceNotFound
from genunlearn.ops.evaluation_mode import evaluating
from genunlearn.ops.sampling import draw_unknown
from genunlearn.records import hash_files, honour_umask, read_json, write_json

WEIGHTS_NAME, CARD_NAME = "model.safetensors", "recommender.json"
KNOWN, FEATURES, SHARDS = "known_interactions", "item_features.", "shards"
DRAWN = -1
"""In place of a negative item: one is drawn."""


class LearntInteraction(Protocol):
    """What is collated: `genunlearn.data.recommender.interactions.Interaction`, or anything of that shape."""

    @property
    def id(self) -> str:
        """Stable identifier."""

    @property
    def user(self) -> int:
        """Number of the user."""

    @property
    def item(self) -> int:
        """Number of the item."""

    @property
    def negative(self) -> int | None:
        """The item that it is compared with; None for one that is drawn."""


class Recommender(Domain):
    """Users and items with vectors, ranked by their products.

    Training compares each known item with one that the user does not know (BPR). That item is a function of torch's
    seed and of the pair, so an example's loss does not depend on its batch.

    Attributes:
        kind: Kind of network, see `genunlearn.domains.recommender.models`.
        known: The interactions that the service holds, ``(pairs, 2)``: what graphs see, and what is never drawn.
        l2: Weight of the squared vectors in the loss.
    """

    name: ClassVar[str] = "recommender"
    offers: ClassVar[frozenset[str]] = frozenset({"example_loss", "reverse_loss", "reinitialise"})

    def __init__(
        self,
        kind: str,
        sizes: tuple[int, int],
        known: Tensor,
        *,
        features: Mapping[str, Tensor] | None = None,
        shards: Tensor | None = None,
        width: int = 64,
        layers: int = 2,
    ) -> None:
        """Make a recommender with fresh weights.

        Args:
            kind: ``bpr``, ``lightgcn``, ``vbpr`` or ``knn_fusion``.
            sizes: Numbers of users and items.
            known: See the class.
            features: Of the items by modality, ``(items, numbers)`` each.
            shards: Number of the shard of each user, for a network each; None for one network.
            width: Numbers of a vector.
            layers: How often graphs are passed through.

        Raises:
            MismatchError: There is no such kind, or it needs features and there are none.
        """
        if kind not in KINDS:
            raise MismatchError(f"kind = {kind!r}: a recommender is one of {', '.join(KINDS)}")
        if kind in NEED_FEATURES and not features:
            raise MismatchError(f"a recommender of kind {kind!r} needs features of the items, and the data has none")
        for name, rows in (features or {}).items():
            if len(rows) != sizes[1]:
                raise MismatchError(f"{name} features of {len(rows)} items for a recommender of {sizes[1]}")
        self.kind, self.sizes, self.width, self.layers = kind, sizes, width, layers
        self.features = {name: rows.clone() for name, rows in (features or {}).items()}
        self.l2 = 1e-4
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            one = KINDS[kind](*sizes, self.features, width, layers)
            self.module = one if shards is None else split(one, shards)
            reset(self.module)
        self.know(known)

    # ---- interactions --------------------------------------------------------------------------------------

    def know(self, pairs: Tensor) -> None:
        """Hold these interactions and no others."""
        self.known = pairs.cpu()
        self._keys = (self.known[:, 0] * self.sizes[1] + self.known[:, 1]).sort().values
        tell(self.network, self.known)

    def drop(self, pairs: Tensor) -> None:
        """Delete interactions; nothing happens to weights."""
        gone = pairs[:, 0] * self.sizes[1] + pairs[:, 1]
        own = self.known[:, 0] * self.sizes[1] + self.known[:, 1]
        self.know(self.known[~torch.isin(own, gone)])

    def withdraw(self, items: Tensor) -> None:
        """Delete the features of items, those in the network too."""
        for rows in self.features.values():
            rows[items] = 0
        erase_features(self.network, items)

    @property
    def shards(self) -> Tensor | None:
        """Number of the shard of each user; None for one network."""
        network: Any = self.network
        return network.shards.cpu() if isinstance(network, Sharded) else None

    # ---- data and losses -----------------------------------------------------------------------------------

    def collate(self, items: Sequence[LearntInteraction]) -> Examples:
        """Numbers of users, items and negatives."""
        rows = [(one.user, one.item, DRAWN if one.negative is None else one.negative) for one in items]
        columns = torch.tensor(rows, dtype=torch.long).reshape(-1, 3).unbind(1)
        tensors = dict(zip(("user", "item", "negative"), columns, strict=True))
        return Examples(tuple(one.id for one in items), torch.ones(len(items)), tensors).to(self.device)

    def example_loss(self, examples: Examples) -> Tensor:
        """``-log sigmoid(x_ui - x_uj)`` and the squared vectors, ``(batch,)``."""
        margins, squares = self._compare(examples)
        return F.softplus(-margins) + self.l2 * squares

    def reverse_loss(self, examples: Examples) -> Tensor:
        """``-log sigmoid(x_uj - x_ui)`` and the squared vectors: the known item is to lose, ``(batch,)``."""
        margins, squares = self._compare(examples)
        return F.softplus(margins) + self.l2 * squares

    def _compare(self, examples: Examples) -> tuple[Tensor, Tensor]:
        """Score of the known item less that of the other, and half the squared vectors, both ``(batch,)``."""
        users, items = self.module(examples["user"])
        liked, other = items[examples["item"]], items[self.negatives(examples)]
        squares = (users.square() + liked.square() + other.square()).sum(1) / 2
        return (users * (liked - other)).sum(1), squares

    def negatives(self, examples: Examples) -> Tensor:
        """An item that the user does not know for each example, unless it names one, ``(batch,)``."""
        given = examples["negative"]
        if (given != DRAWN).all():
            return given
        user, item = examples["user"].cpu(), examples["item"].cpu()
        drawn = draw_unknown(user, item, self._keys, self.sizes[1], torch.initial_seed())
        return torch.where(given == DRAWN, drawn.to(given.device), given)

    @torch.no_grad()
    def scorer(self) -> Callable[[Tensor], Tensor]:
        """Scores of every item for some users, ``(users, items)`` in float32 on the CPU, by the vectors as they are."""
        with evaluating(self.module):
            vectors, items = self.module(torch.arange(self.sizes[0], device=self.device))
        transposed = items.T.contiguous()
        return lambda users: (vectors[users.to(self.device)] @ transposed).float().cpu()

    def scores(self, users: Tensor) -> Tensor:
        """Scores of every item for some users, ``(users, items)`` in float32 on the CPU."""
        return self.scorer()(users)

    # ---- weights -------------------------------------------------------------------------------------------

    def reinitialise(self, seed: int) -> Self:
        """Draw all weights anew by `seed`."""
        self.reset_part(self.network, seed)
        return self

    @staticmethod
    def reset_part(part: Any, seed: int) -> None:
        """Draw the weights of a network, or of one shard of it, anew by `seed`."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            reset(part)

    def save(self, folder: Path) -> None:
        """Write the weights, the interactions and the features that the service holds."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: weight.detach().cpu().contiguous() for name, weight in self.network.named_parameters()}
        tensors[KNOWN] = self.known.contiguous()
        tensors |= {f"{FEATURES}{name}": rows.contiguous() for name, rows in self.features.items()}
        if self.shards is not None:
            tensors[SHARDS] = self.shards.contiguous()
        save_file(tensors, folder / WEIGHTS_NAME)
        card = {"kind": self.kind, "users": self.sizes[0], "items": self.sizes[1]}
        write_json(folder / CARD_NAME, card | {"width": self.width, "layers": self.layers, "l2": self.l2})
        honour_umask(folder)

    @classmethod
    def load(cls, folder: Path | str, *, device: str = "auto") -> Self:
        """Read what `save` has written.

        Raises:
            SourceNotFound: There is no recommender in `folder`.
            MismatchError: Its files do not belong together.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        folder = Path(folder)
        if not all((folder / name).is_file() for name in (WEIGHTS_NAME, CARD_NAME)):
            raise SourceNotFound(f"no recommender at {folder}: give a folder that Recommender.save has written")
        card = read_json(folder / CARD_NAME, "a recommender's card")
        try:
            tensors = load_file(folder / WEIGHTS_NAME)
            known, shards = tensors.pop(KNOWN), tensors.pop(SHARDS, None)
            names = [name for name in tensors if name.startswith(FEATURES)]
            features = {name.removeprefix(FEATURES): tensors.pop(name) for name in names}
            sizes = (int(card["users"]), int(card["items"]))
            _check_known(known, sizes)
            shape = {"width": int(card["width"]), "layers": int(card["layers"])}
            model = cls(str(card["kind"]), sizes, known, features=features, shards=shards, **shape)
            model.l2 = float(card["l2"])
            given = dict(model.network.named_parameters())
            if given.keys() != tensors.keys():
                raise ValueError(f"its weights are {', '.join(sorted(tensors)) or 'missing'}")
            with torch.no_grad():
                for name, weight in given.items():
                    weight.copy_(_of_shape(name, tensors[name], weight))
        except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError, json.JSONDecodeError) as error:
            if isinstance(error, MismatchError | DataError):
                raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise MismatchError(f"{folder}: the files of the recommender do not fit together ({reason})") from error
        place = PartialState().device if device == "auto" else torch.device(device)
        model.module.to(place).eval()
        model._sha256 = hash_files([folder / WEIGHTS_NAME])
        return model

    _sha256: str | None = None

    @property
    def base_sha256(self) -> str | None:
        """Hash of the file that it was read from."""
        return self._sha256


def _check_known(known: Tensor, sizes: tuple[int, int]) -> None:
    is_pairs = known.dim() == 2 and known.shape[1] == 2 and known.dtype == torch.long
    if not is_pairs or ((known < 0) | (known >= torch.tensor(sizes))).any():
        raise ValueError(f"interactions of shape {tuple(known.shape)} for {sizes[0]} users and {sizes[1]} items")


def _of_shape(name: str, tensor: Tensor, weight: Tensor) -> Tensor:
    if tensor.shape != weight.shape:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, not {tuple(weight.shape)}")
    return tensor
