"""Cells as they are found, kept and drawn: which two edges enter each node, and what each edge does.

A cell has two inputs (the outputs of the two cells before it, numbered 0 and 1) and some nodes (numbered on from 2).
Each node is the sum of two edges from earlier numbers; the output joins all nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from genunlearn.backbones.operations import NONE, OPERATIONS
from genunlearn.errors import DataError

INPUTS = 2
"""Of a cell, and of a node."""
NAMES = tuple(OPERATIONS)
KINDS = ("normal", "reduction")
MOST_NODES = 8

Edge = tuple[str, int]
"""Operation, and the number of what it is applied to."""


@dataclass(frozen=True)
class Genotype:
    """What a search has found.

    Attributes:
        normal: Two edges a node, node after node, of cells that keep the size.
        reduction: The same for cells that halve it.
    """

    normal: tuple[Edge, ...]
    reduction: tuple[Edge, ...]

    def __post_init__(self) -> None:
        """Refuse what is no cell.

        Raises:
            DataError: The number of edges, an operation or where an edge comes from is wrong.
        """
        if len(self.normal) != len(self.reduction):
            raise DataError(f"cells of {len(self.normal)} and {len(self.reduction)} edges: both need the same number")
        for kind in KINDS:
            _check(kind, getattr(self, kind))

    @property
    def nodes(self) -> int:
        """Of each cell."""
        return len(self.normal) // INPUTS

    def plain(self) -> dict[str, list[list[Any]]]:
        """As JSON; `Genotype.read` takes it back."""
        return {kind: [[name, source] for name, source in getattr(self, kind)] for kind in KINDS}

    @classmethod
    def read(cls, data: Any) -> Genotype:
        """A genotype from JSON.

        Raises:
            DataError: It is none.
        """
        if not isinstance(data, Mapping) or set(data) != set(KINDS):
            raise DataError("not a cell: give an object with normal and reduction")
        try:
            cells = [tuple((name, source) for name, source in data[kind]) for kind in KINDS]
        except (TypeError, ValueError):
            raise DataError("not a cell: give each edge as [operation, number of what it is applied to]") from None
        return cls(*cells)


def _check(kind: str, edges: Sequence[Edge]) -> None:
    if not edges or len(edges) % INPUTS or len(edges) > INPUTS * MOST_NODES:
        raise DataError(f"{kind} cell of {len(edges)} edges: give two for each of 1 to {MOST_NODES} nodes")
    for place, (name, source) in enumerate(edges):
        node = INPUTS + place // INPUTS
        if name not in NAMES or name == NONE:
            known = ", ".join(each for each in NAMES if each != NONE)
            raise DataError(f"{kind} cell, edge {place}: operation {name!r}: one of {known}")
        if not isinstance(source, int) or isinstance(source, bool) or not 0 <= source < node:
            raise DataError(f"{kind} cell, edge {place}: comes from {source!r}: node {node} takes 0 to {node - 1}")


def edges_of(nodes: int) -> int:
    """How many edges a cell has while all are there."""
    return sum(INPUTS + node for node in range(nodes))


def discretise(normal: Tensor, reduction: Tensor) -> Genotype:
    """Keep of each node the two edges whose best operation weighs most, ``none`` apart, and of each that operation.

    Args:
        normal: Weights after the softmax, ``(edges, operations)``.
        reduction: The same of the other kind of cell.

    Source: DARTS, section 2.4; of equal edges the earlier one is kept, as in its code.
    """
    return Genotype(_kept(normal), _kept(reduction))


def _kept(weights: Tensor) -> tuple[Edge, ...]:
    rows = weights.detach().double().clone()
    rows[:, NAMES.index(NONE)] = -1.0
    best, which = rows.max(1)
    kept: list[Edge] = []
    start, count = 0, INPUTS
    while start < len(rows):
        own = best[start : start + count].tolist()
        for source in sorted(range(count), key=lambda number: -own[number])[:INPUTS]:
            kept.append((NAMES[int(which[start + source])], source))
        start, count = start + count, count + 1
    return tuple(kept)


def random_genotype(nodes: int, seed: int) -> Genotype:
    """A cell drawn at random: the control that a search must beat."""
    draw = np.random.default_rng(seed)
    choices = [name for name in NAMES if name != NONE]

    def cell() -> tuple[Edge, ...]:
        return tuple(
            (choices[draw.integers(len(choices))], int(source))
            for node in range(nodes)
            for source in np.sort(draw.choice(INPUTS + node, INPUTS, replace=False))
        )

    return Genotype(cell(), cell())
