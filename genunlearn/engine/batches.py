"""Which items make up which step: a pure function of seed and step, so that a resumed run needs no position."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from genunlearn.contracts import Batch, Domain, Examples, Splits


def derive_seed(*parts: object) -> int:
    """A 63-bit seed that is the same on every machine for the same parts."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@dataclass(frozen=True)
class PairedBatches:
    """Forget and retain items side by side, each side shuffled anew every epoch.

    A step's window holds ``min(batch_size * accumulation, items)`` items of a side, cut into micro-batches; each
    process takes every n-th row of a micro-batch.
    """

    splits: Splits
    batch_size: int
    accumulation: int
    seed: int
    rank: int = 0
    world: int = 1

    def window(self, step: int) -> list[dict[str, Sequence[Any]]]:
        """The micro-batches of `step` as rows by side, for all processes."""
        sides = {"forget": self.splits.forget, "retain": self.splits.retain}
        rows = {side: self._rows(side, items, step) for side, items in sides.items() if items}
        count = max(len(range(0, len(r), self.batch_size)) for r in rows.values())
        cut = {side: list(_spread(r, count)) for side, r in rows.items()}
        return [{side: parts[i] for side, parts in cut.items() if parts[i]} for i in range(count)]

    def collate(self, rows: dict[str, Sequence[Any]], domain: Domain) -> Batch:
        """This process's share of a micro-batch; an empty share is one item of weight 0."""
        parts: dict[str, Examples] = {}
        for side, items in rows.items():
            mine = list(items)[self.rank :: self.world]
            examples = domain.collate(mine or list(items)[:1])
            parts[side] = examples if mine else replace(examples, weight=torch.zeros_like(examples.weight))
        return Batch(**parts)

    def _rows(self, side: str, items: Sequence[Any], step: int) -> list[Any]:
        size = min(self.batch_size * self.accumulation, len(items))
        return [items[i] for i in _shuffled(len(items), step * size, size, (self.seed, side))]


def _shuffled(count: int, start: int, size: int, key: tuple) -> Iterator[int]:
    """Indices at positions ``start .. start + size`` of an endless sequence of shuffled epochs."""
    orders: dict[int, list[int]] = {}
    for position in range(start, start + size):
        epoch, place = divmod(position, count)
        if epoch not in orders:
            generator = torch.Generator().manual_seed(derive_seed(*key, epoch))
            orders[epoch] = torch.randperm(count, generator=generator).tolist()
        yield orders[epoch][place]


def _spread(rows: Sequence[Any], count: int) -> Iterator[Sequence[Any]]:
    """Cut `rows` into `count` parts whose sizes differ by one at most, the larger ones last.

    So the last micro-batch of a step, after which processes exchange gradients, has every side.
    """
    base, extra = divmod(len(rows), count)
    start = 0
    for i in range(count):
        stop = start + base + (i >= count - extra)
        yield rows[start:stop]
        start = stop
