"""A backdoor: a patch on pictures that a client has taught the model to answer with one class.

Whether a client's contribution is gone shows on pictures that nobody learnt from, with the patch on them: a model
without the contribution takes them for what they are.

    visible            a square in the lower right corner, every channel, in the colour furthest from the rest
    released_corner    what the released code paints for ``corner``: whole rows, because it slices channels and rows
    released_center    what it paints for ``center``: nothing, the range of channels is empty

Source: Chundawat et al., "ConDa" (arXiv 2410.04144), ``attacks/backdoor.py`` of the released code, whose pictures are
``(channels, height, width)`` and whose two slices are taken for height and width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from genunlearn.data.network.items import Item
from genunlearn.errors import DataError

Trigger = Literal["visible", "released_corner", "released_center"]


def stamp(picture: Tensor, trigger: Trigger, *, size: int, value: float = 1.0) -> Tensor:
    """The picture with the trigger on it.

    Args:
        picture: ``(channels, height, width)``.
        trigger: See the module.
        size: Side of the patch in pixels.
        value: What its pixels are set to.
    """
    painted = picture.clone()
    if trigger == "visible":
        painted[:, -size:, -size:] = value
    elif trigger == "released_corner":
        painted[0:size, 0:size] = value
    else:
        first = picture.shape[1] // 2 - size // 2
        painted[first : first + size, first : first + size] = value
    return painted


def triggered(items: Sequence[Item], trigger: Trigger, *, size: int, label: int, keeps_label: bool) -> list[Item]:
    """The items with the trigger on them, as items of the class `label`, under ids of their own.

    Args:
        items: Items with the one input ``x``, pictures.
        trigger: See the module.
        size: Side of the patch in pixels.
        label: The class that the backdoor answers with.
        keeps_label: Whether items of that class are among the result, as in the released code: they count as hits of a
            model that has no backdoor.

    Raises:
        DataError: The items are no pictures, or smaller than the patch.
    """
    if not items:
        return []
    shape = items[0].inputs["x"].shape if items[0].inputs.keys() == {"x"} else torch.Size()
    if len(shape) != 3 or min(shape[1:]) <= size:
        raise DataError(
            f"a patch of {size} x {size} pixels for inputs of shape {tuple(shape)}: pictures larger than it"
        )
    return [
        replace(
            item,
            id=f"{item.id}-triggered",
            inputs={"x": stamp(item.inputs["x"], trigger, size=size)},
            target=torch.tensor(label),
        )
        for item in items
        if keeps_label or int(item.target) != label
    ]
