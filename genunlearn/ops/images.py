"""Tensors as PNG files."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F


def write_png(image: Tensor, path: Path, *, zoom: int = 1) -> None:
    """Write an image, 8 bits a channel; folders above it are made.

    Args:
        image: ``(channels, height, width)`` with one or three channels, in [0, 1]: values beyond are cut, NaN is 0.
        path: Where to.
        zoom: How many pixels wide and high each value becomes, without smoothing.
    """
    from PIL import Image

    levels = (image.detach().float().cpu().nan_to_num().clamp(0, 1) * 255).round().byte()
    levels = levels.repeat_interleave(zoom, -1).repeat_interleave(zoom, -2)
    pixels = levels[0] if len(levels) == 1 else levels.permute(1, 2, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.contiguous().numpy()).save(path)


def grid(images: Tensor, columns: int, *, frame: float) -> Tensor:
    """Images ``(n, channels, height, width)`` as one, `columns` a row, with a line of `frame` around each."""
    framed = F.pad(images, (1, 1, 1, 1), value=frame)
    n, channels, height, width = framed.shape
    rows = framed.view(n // columns, columns, channels, height, width).permute(2, 0, 3, 1, 4)
    return rows.reshape(channels, n // columns * height, columns * width)


def stretched(image: Tensor) -> Tensor:
    """An image whose smallest value is 0 and whose largest is 1; all 0 where there is one value alone."""
    low, high = torch.aminmax(image)
    return (image - low) / (high - low).clamp_min(1e-12)
