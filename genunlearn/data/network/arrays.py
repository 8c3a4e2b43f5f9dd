"""Pictures in one ``.npz`` file, as MNIST is commonly kept: ``x_train``, ``y_train``, ``x_test``, ``y_test``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from genunlearn.data.archives import read_archive
from genunlearn.data.network.items import Item, as_items
from genunlearn.errors import DataError, SourceNotFound

COLUMNS = ("x_train", "y_train", "x_test", "y_test")
WHITE = 255.0


def read_pictures(path: Path | str, *, limit: int | None = None, seed: int = 0) -> tuple[list[Item], list[Item]]:
    """Training and test items of a file, pictures in [-1, 1] with a channel dimension.

    Args:
        path: The file; nothing in it is unpickled.
        limit: At most so many items of each, drawn by `seed`; all of them by default.
        seed: Decides the draw.

    Raises:
        SourceNotFound: There is no such file.
        DataError: It holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise SourceNotFound(f"no file {path}: name an .npz file with {', '.join(COLUMNS)}")
    columns = read_archive(path, COLUMNS, f"an .npz file with {', '.join(COLUMNS)}")
    train, test = (_items(path, columns, side, limit, seed) for side in ("train", "test"))
    if train[0].inputs["x"].shape != test[0].inputs["x"].shape:
        raise DataError(f"{path}: training and test pictures differ in size")
    return train, test


def _items(path: Path, columns: dict[str, np.ndarray], side: str, limit: int | None, seed: int) -> list[Item]:
    pictures, labels = columns[f"x_{side}"], columns[f"y_{side}"]
    if pictures.dtype != np.uint8 or pictures.ndim not in (3, 4) or labels.shape != (len(pictures),):
        raise DataError(
            f"{path}: x_{side} is {pictures.dtype} of shape {pictures.shape} and y_{side} of shape {labels.shape}: "
            "give pictures (items, height, width) or (items, height, width, channels) in bytes, and one label for each"
        )
    if not len(pictures) or not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0:
        raise DataError(f"{path}: y_{side} must hold class numbers from 0 on, and at least one")
    rows = np.arange(len(pictures))
    if limit is not None and limit < len(rows):
        rows = np.sort(np.random.default_rng(seed).permutation(rows)[:limit])
    chosen = torch.from_numpy(pictures[rows]).float() / (WHITE / 2) - 1
    chosen = chosen[:, None] if chosen.dim() == 3 else chosen.permute(0, 3, 1, 2).contiguous()
    return as_items((chosen, torch.from_numpy(labels[rows].astype(np.int64))), prefix=f"{side}-")
