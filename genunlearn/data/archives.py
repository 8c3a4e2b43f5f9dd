"""Arrays of ``.npz`` files, which are a stranger's: nothing is unpickled, and whatever is wrong is said in one line."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from genunlearn.errors import DataError

NO_ARCHIVE = (
    OSError, ValueError, TypeError, AttributeError, EOFError, KeyError, SyntaxError, RuntimeError, MemoryError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What numpy and zipfile raise for files that are damaged, encrypted, packed in another way or of another kind."""


def why_none(error: BaseException) -> str:
    """What is wrong with a file, in one line; numpy's own advice is to open it unsafely."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return "it holds Python objects, or is of another kind" if "pickle" in reason else reason


def read_archive(path: Path, names: Sequence[str], give: str, *, optional: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """The arrays of these names.

    Args:
        path: The file.
        names: Arrays that must be there.
        give: What the file should be, for messages.
        optional: Arrays that are read where they are there.

    Raises:
        DataError: It is no such file, or an array is missing or cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            there = set(file.files)
            found = {name: file[name] for name in (*names, *optional) if name in there}
    except NO_ARCHIVE as error:
        raise DataError(f"{path}: not a file of arrays ({why_none(error)}): give {give}") from None
    for name in names:
        if name not in found:
            raise DataError(f"{path}: has no array {name!r}: give {give}")
    for name, array in found.items():
        if not isinstance(array, np.ndarray):  # numpy hands out as bytes what does not begin like an array
            raise DataError(f"{path}: {name!r} is no array: give {give}")
    return found
