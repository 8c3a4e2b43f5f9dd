"""Images as files: every pixel where it belongs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from genunlearn.ops.images import grid, stretched, write_png


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_values_become_levels_and_nothing_wraps_around(tmp_path: Path) -> None:
    """0.5 * 255 = 127.5, which rounds to the even 128; beyond [0, 1] and NaN are cut, where a byte would wrap."""
    path = tmp_path / "new" / "a.png"
    write_png(torch.tensor([[[0.0, 0.5, 1.0], [-0.1, 1.1, float("nan")]]]), path)
    assert read(path).tolist() == [[0, 128, 255], [0, 255, 0]]


def test_colours_and_zoom(tmp_path: Path) -> None:
    image = torch.tensor([1.0, 0.0, 0.0])[:, None, None].expand(3, 1, 2)
    write_png(image, tmp_path / "a.png", zoom=2)
    pixels = read(tmp_path / "a.png")
    assert pixels.shape == (2, 4, 3)
    assert (pixels == [255, 0, 0]).all()


def test_a_grid_is_filled_row_by_row() -> None:
    images = torch.arange(4.0)[:, None, None, None] + 1
    assert grid(images, 2, frame=0.0)[0, 1::3, 1::3].tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert grid(images, 2, frame=9.0)[0, 0].tolist() == [9.0] * 6


def test_stretching_spans_all_levels() -> None:
    assert stretched(torch.tensor([[[2.0, 3.0, 4.0]]])).tolist() == [[[0.0, 0.5, 1.0]]]
    assert stretched(torch.full((1, 2, 2), 7.0)).sum() == 0
