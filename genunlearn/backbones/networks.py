"""Networks of cells: one that holds every operation, to search in, and the small one that a search leaves.

Source: DARTS (see `genunlearn.backbones.operations`), section 3.1. Deviations: a network of two cells has one of each
kind; no auxiliary tower and no drop-path, which such small networks do not need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from genunlearn.backbones.cells import INPUTS, NAMES, Edge, Genotype, edges_of
from genunlearn.backbones.operations import (
    OPERATIONS,
    FactorizedReduce,
    MixedOperation,
    Norm,
    convolved,
    searching_norm,
)

STEM_FACTOR = 3
FIRST_SCALE = 1e-3
"""Of the architecture's parameters when a search begins."""


def reductions(cells: int) -> frozenset[int]:
    """Which cells halve the size: those at a third and at two thirds, and never the first."""
    return frozenset({max(1, cells // 3), 2 * cells // 3})


class _Entrance(nn.Module):
    """Brings the outputs of the two cells before to the channels, and the size, of this one."""

    def __init__(self, before: tuple[int, int], channels: int, *, was_reduced: bool, norm: Norm) -> None:
        super().__init__()
        make = FactorizedReduce if was_reduced else convolved
        self.first = make(before[0], channels, norm)
        self.second = convolved(before[1], channels, norm)

    def forward(self, first: Tensor, second: Tensor) -> list[Tensor]:
        return [self.first(first), self.second(second)]


class SearchCell(nn.Module):
    """A cell with every operation on every edge."""

    def __init__(self, entrance: nn.Module, channels: int, nodes: int, *, reduces: bool) -> None:
        super().__init__()
        self.entrance, self.reduces, self.nodes = entrance, reduces, nodes
        strides = [2 if reduces and j < INPUTS else 1 for node in range(nodes) for j in range(INPUTS + node)]
        self.edges = nn.ModuleList(MixedOperation(channels, stride) for stride in strides)

    def forward(self, first: Tensor, second: Tensor, weights: Tensor) -> Tensor:
        """`weights`: ``(edges, operations)`` after the softmax."""
        states: list[Tensor] = self.entrance(first, second)
        start = 0
        for _ in range(self.nodes):
            parts = [self.edges[start + j](x, weights[start + j]) for j, x in enumerate(states)]
            start += len(states)
            states.append(torch.stack(parts).sum(0))
        return torch.cat(states[INPUTS:], 1)


class FoundCell(nn.Module):
    """A cell with two edges a node."""

    def __init__(self, entrance: nn.Module, channels: int, found: Sequence[Edge], *, reduces: bool) -> None:
        super().__init__()
        self.entrance, self.sources = entrance, tuple(source for _, source in found)
        self.edges = nn.ModuleList(
            OPERATIONS[name](channels, 2 if reduces and source < INPUTS else 1, nn.BatchNorm2d)
            for name, source in found
        )

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """The nodes side by side, ``(batch, nodes * channels, height, width)``."""
        states: list[Tensor] = self.entrance(first, second)
        for place in range(0, len(self.edges), INPUTS):
            one, two = (self.edges[k](states[self.sources[k]]) for k in range(place, place + INPUTS))
            states.append(one + two)
        return torch.cat(states[INPUTS:], 1)


def _stack(
    cells: int,
    channels: int,
    nodes: int,
    norm: Norm,
    make: Callable[[nn.Module, int, bool], nn.Module],
) -> tuple[list[nn.Module], int]:
    """The cells of a network, and how many channels leave the last one."""
    before = (STEM_FACTOR * channels, STEM_FACTOR * channels)
    built: list[nn.Module] = []
    was_reduced = False
    for number in range(cells):
        reduces = number in reductions(cells)
        channels *= 1 + reduces
        built.append(make(_Entrance(before, channels, was_reduced=was_reduced, norm=norm), channels, reduces))
        before, was_reduced = (before[1], nodes * channels), reduces
    return built, before[1]


class _Network(nn.Module):
    """Stem, cells, pooling, classifier."""

    def __init__(self, shape: tuple[int, int], channels: int, norm: Norm, cells: tuple[list[nn.Module], int]) -> None:
        super().__init__()
        in_channels, classes = shape
        width = STEM_FACTOR * channels
        self.stem = nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1, bias=False), norm(width))
        self.cells = nn.ModuleList(cells[0])
        self.classifier = nn.Linear(cells[1], classes)

    def _through(self, x: Tensor, weights: Callable[[Any], tuple[Tensor, ...]]) -> Tensor:
        first = second = self.stem(x)
        for cell in self.cells:
            first, second = second, cell(first, second, *weights(cell))
        logits: Tensor = self.classifier(second.mean((2, 3)))
        return logits


class SearchNetwork(_Network):
    """All cells at once.

    Attributes:
        alphas: The architecture's parameters before the softmax: of normal cells and of those that reduce, each
            ``(edges, operations)``. They are no weights: `weights` leaves them out.
    """

    def __init__(self, in_channels: int, classes: int, *, cells: int, channels: int, nodes: int) -> None:
        """Draw weights and architecture from torch's random state."""

        def make(entrance: nn.Module, width: int, reduces: bool) -> nn.Module:
            return SearchCell(entrance, width, nodes, reduces=reduces)

        super().__init__(
            (in_channels, classes), channels, searching_norm, _stack(cells, channels, nodes, searching_norm, make)
        )
        shape = (edges_of(nodes), len(NAMES))
        self.alphas = nn.ParameterList(nn.Parameter(FIRST_SCALE * torch.randn(shape)) for _ in range(2))

    def weights(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Everything that is trained but the architecture, by name."""
        return ((name, weight) for name, weight in self.named_parameters() if not name.startswith("alphas."))

    def shares(self) -> tuple[Tensor, Tensor]:
        """The architecture after the softmax, normal and reduction."""
        normal, reduction = (alpha.softmax(-1) for alpha in self.alphas)
        return normal, reduction

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channels, height, width)`` to logits."""
        shares = self.shares()
        return self._through(x, lambda cell: (shares[cell.reduces],))


class FoundNetwork(_Network):
    """The network of a genotype, with fresh weights.

    Example:
        >>> network = FoundNetwork(genotype, 1, 10, cells=3, channels=8)
    """

    def __init__(self, genotype: Genotype, in_channels: int, classes: int, *, cells: int, channels: int) -> None:
        """Draw weights from torch's random state.

        Args:
            genotype: What the cells are.
            in_channels: Of the pictures.
            classes: Number of logits.
            cells: Number of cells.
            channels: Of the first cell; each reduction doubles them.
        """

        def make(entrance: nn.Module, width: int, reduces: bool) -> nn.Module:
            found = genotype.reduction if reduces else genotype.normal
            return FoundCell(entrance, width, found, reduces=reduces)

        norm: Norm = partial(nn.BatchNorm2d)
        super().__init__((in_channels, classes), channels, norm, _stack(cells, channels, genotype.nodes, norm, make))

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channels, height, width)`` to logits."""
        return self._through(x, lambda _: ())
