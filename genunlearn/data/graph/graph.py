"""A graph as networks see it, without what is to be forgotten; and what is learnt about its nodes and pairs of nodes.

Links have no direction: a link of two nodes carries messages both ways.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from genunlearn.errors import DataError
from genunlearn.records import hash_json


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphItem:
    """One example: a node and its class, or a pair of nodes and whether they are linked.

    Attributes:
        id: Stable identifier, such as ``node 3`` or ``link 3-17``.
        nodes: The node, or the two nodes.
        target: Class number; of a pair 1 for a link and 0 for none.
        extras: Further tensors that a method needs, for instance a teacher's answers.
    """

    id: str
    nodes: tuple[int, ...]
    target: int
    extras: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Nodes with features, and links.

    Attributes:
        x: ``(nodes, features)`` in float32.
        links: ``(links, 2)`` node numbers, the smaller one first, each link once, sorted.
        y: ``(nodes,)`` class numbers; None where nodes have none.
    """

    x: Tensor
    links: Tensor
    y: Tensor | None = None

    @classmethod
    def of(cls, x: Tensor, edge_index: Tensor, y: Tensor | None = None) -> Graph:
        """Make one from edges in either direction; loops and doubles are left out.

        Args:
            x: ``(nodes, features)``.
            edge_index: ``(2, edges)``, as in PyTorch Geometric.
            y: ``(nodes,)`` class numbers, or None.

        Raises:
            DataError: Shapes do not belong together, an edge names a node that is not there, or a feature is none.
        """
        if x.dim() != 2 or not len(x):
            raise DataError(f"x of shape {tuple(x.shape)}: give features (nodes, features)")
        if edge_index.dim() != 2 or len(edge_index) != 2 or edge_index.is_floating_point():
            raise DataError(f"edge_index of shape {tuple(edge_index.shape)}: give whole numbers (2, edges)")
        if edge_index.numel() and not 0 <= int(edge_index.min()) <= int(edge_index.max()) < len(x):
            worst = int(edge_index.max()) if int(edge_index.min()) >= 0 else int(edge_index.min())
            raise DataError(f"edge_index names node {worst}: the graph has nodes 0 to {len(x) - 1}")
        if y is not None and (y.shape != (len(x),) or y.is_floating_point()):
            raise DataError(f"y of shape {tuple(y.shape)}: give one class number for each of {len(x)} nodes")
        if not x.isfinite().all():
            raise DataError("x holds NaN or infinity: fill it in, or leave the node out")
        pairs = edge_index.long().sort(0).values
        pairs = pairs[:, pairs[0] != pairs[1]]
        links = pairs.unique(dim=1).T.contiguous() if pairs.numel() else pairs.T.contiguous()
        return cls(x=x.float(), links=links, y=None if y is None else y.long())

    @property
    def num_nodes(self) -> int:
        """How many nodes there are."""
        return len(self.x)

    @cached_property
    def edge_index(self) -> Tensor:
        """The links in both directions, ``(2, 2 links)``."""
        return torch.cat([self.links, self.links.flip(1)]).T.contiguous()

    @cached_property
    def sha256(self) -> str:
        """Hash of everything in it."""
        y = [] if self.y is None else self.y.tolist()
        used = self.x.nonzero()
        return hash_json(
            [used.tolist(), self.x[used[:, 0], used[:, 1]].tolist(), list(self.x.shape), self.links.tolist(), y]
        )

    def touching(self, nodes: Tensor) -> Tensor:
        """Which links have an end among `nodes`, ``(links,)`` bool."""
        return torch.isin(self.links, nodes).any(1)

    def without_links(self, marked: Tensor) -> Graph:
        """The graph without the marked links, ``(links,)`` bool."""
        return replace(self, links=self.links[~marked])

    def without_nodes(self, nodes: Tensor) -> Graph:
        """The graph in which nobody hears of `nodes`: their links are gone, and who asks about one brings its features.

        Node numbers stay as they are.
        """
        return self.without_links(self.touching(nodes))

    def without_features(self, nodes: Tensor) -> Graph:
        """The graph in which `nodes` keep their links, and their features are 0."""
        x = self.x.clone()
        x[nodes] = 0
        return replace(self, x=x)

    def near(self, nodes: Tensor, hops: int) -> Tensor:
        """Which nodes are at most so many links away from `nodes`, ``(nodes,)`` bool."""
        is_near = torch.zeros(self.num_nodes, dtype=torch.bool)
        is_near[nodes] = True
        for _ in range(hops):
            reached = self.links[is_near[self.links].any(1)]
            is_near[reached.flatten()] = True
        return is_near


def non_links(graph: Graph, count: int, generator: torch.Generator) -> Tensor:
    """Pairs of nodes without a link, drawn without replacement, ``(count, 2)``.

    Raises:
        DataError: There are not so many.
    """
    nodes = graph.num_nodes
    free = nodes * (nodes - 1) // 2 - len(graph.links)
    if count > free // 2:  # drawing until enough are found would take long
        raise DataError(f"{count} pairs without a link asked of a graph that has {free}: it is too dense, or too small")
    taken = graph.links[:, 0] * nodes + graph.links[:, 1]
    found = torch.zeros(0, dtype=torch.long)
    while len(found) < count:
        pairs = torch.randint(nodes, (2 * count + 16, 2), generator=generator).sort(1).values
        codes = pairs[pairs[:, 0] < pairs[:, 1]] @ torch.tensor([nodes, 1])
        codes = torch.cat([found, codes[~torch.isin(codes, taken)]])
        first = torch.zeros(len(codes), dtype=torch.bool)  # in the order in which they were drawn, each once
        first[_first_places(codes)] = True
        found = codes[first]
    return torch.stack([found[:count] // nodes, found[:count] % nodes], dim=1)


def _first_places(codes: Tensor) -> Tensor:
    values, order = codes.sort(stable=True)
    is_first = torch.cat([torch.ones(1, dtype=torch.bool), values.diff() != 0])
    return order[is_first]


def node_items(graph: Graph, nodes: Tensor) -> list[GraphItem]:
    """Nodes with their classes.

    Raises:
        DataError: The graph's nodes have no classes.
    """
    if graph.y is None:
        raise DataError("the graph has no classes (y), which node classification learns: forget links instead")
    return [
        GraphItem(id=f"node {n}", nodes=(n,), target=y)
        for n, y in zip(nodes.tolist(), graph.y[nodes].tolist(), strict=True)
    ]


def pair_items(pairs: Tensor, *, is_linked: bool) -> list[GraphItem]:
    """Pairs of nodes that are linked, or are not; `pairs` is ``(pairs, 2)``."""
    word = "link" if is_linked else "no link"
    return [GraphItem(id=f"{word} {u}-{v}", nodes=(u, v), target=int(is_linked)) for u, v in pairs.tolist()]


def nodes_of(items: Sequence[GraphItem]) -> Tensor:
    """All nodes of some items, each once, sorted."""
    return torch.tensor(sorted({node for item in items for node in item.nodes}), dtype=torch.long)
