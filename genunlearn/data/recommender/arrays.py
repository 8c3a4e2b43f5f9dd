"""Features of items in NumPy files, which are a stranger's: nothing is unpickled, and what they claim is checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from genunlearn.errors import DataError

MOST_NUMBERS = 2**31
"""Of one file: 8 GiB in float32."""


def read_features(path: Path, rows: int) -> Tensor:
    """One row of numbers for each item, ``(rows, numbers)`` in float32.

    Args:
        path: An ``.npy`` file.
        rows: How many items there are.

    Raises:
        DataError: It is no array of numbers of two dimensions with so many rows, or one of them is not finite.
    """
    try:
        # Mapped first: a header may claim any size, and a mapping longer than its file is refused before memory is
        # asked for.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError, MemoryError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"{path}: no array of numbers in NumPy's .npy format ({reason})") from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise DataError(f"{path}: an archive of arrays: save the one array with numpy.save")
    if array.dtype.kind not in "fiu":
        raise DataError(f"{path}: an array of {array.dtype}: features are numbers")
    if array.ndim != 2 or array.shape[1] == 0:
        raise DataError(f"{path}: an array of shape {array.shape}: features are (items, numbers)")
    if array.shape[0] != rows:
        raise DataError(f"{path}: features of {array.shape[0]:,} items, and the interactions have {rows:,}")
    if array.size > MOST_NUMBERS:
        raise DataError(f"{path}: {array.size:,} numbers: at most {MOST_NUMBERS:,} are read")
    with np.errstate(over="ignore"):
        features = torch.from_numpy(np.array(array, dtype=np.float32))
    if not features.isfinite().all():
        raise DataError(f"{path}: holds NaN or infinity, or a number too large for float32: fill it in")
    return features
