"""Other labels for items of any family: another class, another number, another answer, another caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from genunlearn.errors import DataError

LABEL_FIELDS = ("target", "answer", "latents", "caption", "prompt")
"""Where items of the families keep what is learnt about them; the first one that an item has counts."""


def redraw_labels(items: Sequence[Any], pool: Sequence[Any], seed: int, *, is_wrong: bool) -> list[Any]:
    """The same items with labels drawn uniformly from the different labels in `pool`.

    What a text-to-image model learns about a prompt is an image: its label is drawn as a concept, and then one of the
    images of that concept.

    Args:
        items: Dataclass instances that have one of `LABEL_FIELDS`.
        pool: Items whose labels are drawn from; several items with one label count once.
        seed: Decides the draws.
        is_wrong: Never draw an item's own label.

    Raises:
        DataError: Items without a label, or `pool` has no other label.
    """
    name = next((field for field in LABEL_FIELDS if getattr(items[0], field, None) is not None), None)
    if name is None:
        raise DataError(f"{type(items[0]).__name__} has no label to replace: none of {', '.join(LABEL_FIELDS)}")
    labels: dict[Any, list[Any]] = {}
    for item in pool:
        labels.setdefault(_key(item, name), []).append(getattr(item, name))
    if is_wrong and len(labels) < 2:
        raise DataError("one label in all the data: there is no wrong one to draw; add retain data with other labels")
    generator, keys = torch.Generator().manual_seed(seed), list(labels)
    drawn = []
    for item in items:
        own, key = _key(item, name), None
        while key is None or (is_wrong and key == own):
            key = keys[_draw(len(keys), generator)]
        same = labels[key]
        label = same[_draw(len(same), generator)] if name == "latents" else same[0]
        drawn.append(replace(item, **{name: label}))
    return drawn


def _draw(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=generator))


def _key(item: Any, name: str) -> Any:
    """What makes two labels the same: for images the concept that they show, or the prompt where it names none."""
    if name == "latents":
        return item.concept or item.prompt
    label = getattr(item, name)
    return tuple(label.flatten().tolist()) if isinstance(label, torch.Tensor) else label
