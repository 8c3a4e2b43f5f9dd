"""Batches for what a method trains by itself, beside the training loop."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from genunlearn.data.lm.facts import QA


def batches(items: Sequence[QA], size: int, seed: str) -> Iterator[list[QA]]:
    """Endless batches, each pass over the items in an order of its own."""
    draw = random.Random(seed)
    waiting: list[QA] = []
    while True:
        while len(waiting) < size:
            waiting += draw.sample(items, len(items))
        yield waiting[:size]
        waiting = waiting[size:]
