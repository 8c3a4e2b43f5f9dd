"""Other labels for items of any family: another class, another number, another answer, another caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from genunlearn.errors import DataError

LABEL_FIELDS = ("target", "answer", "caption", "prompt")
"""Where items of the families keep what is learnt about them; the first one that an item has counts."""


def redraw_labels(items: Sequence[Any], pool: Sequence[Any], seed: int, *, is_wrong: bool) -> list[Any]:
    """The same items with labels drawn uniformly from the different labels in `pool`.

    Args:
        items: Dataclass instances that have one of `LABEL_FIELDS`.
        pool: Items whose labels are drawn from; several items with one label count once.
        seed: Decides the draws.
        is_wrong: Never draw an item's own label.

    Raises:
        DataError: Items without a label, or `pool` has no other label.
    """
    name = next((field for field in LABEL_FIELDS if hasattr(items[0], field)), None)
    if name is None:
        raise DataError(f"{type(items[0]).__name__} has no label to replace: none of {', '.join(LABEL_FIELDS)}")
    labels = list({_key(getattr(item, name)): getattr(item, name) for item in pool}.values())
    if is_wrong and len(labels) < 2:
        raise DataError("one label in all the data: there is no wrong one to draw; add retain data with other labels")
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for item in items:
        own, label = _key(getattr(item, name)), None
        while label is None or (is_wrong and _key(label) == own):
            label = labels[int(torch.randint(len(labels), (), generator=generator))]
        drawn.append(replace(item, **{name: label}))
    return drawn


def _key(label: Any) -> Any:
    return tuple(label.flatten().tolist()) if isinstance(label, torch.Tensor) else label
