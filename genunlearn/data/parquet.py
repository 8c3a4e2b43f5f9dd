"""Parquet files, as the hub and pandas write them, checked once for all who read them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from genunlearn.errors import DataError

if TYPE_CHECKING:
    import pyarrow

PARQUET = ".parquet"


def read_parquet(path: Path) -> pyarrow.Table:
    """The table in a file that is there; at least one row, and no column twice.

    Raises:
        DataError: It is no such file; one line that names it.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        # Not `read_table`, which takes columns from the names of the folders above.
        found = parquet.ParquetFile(path).read()
        found.validate(full=True)  # else texts that are not UTF-8 come to light late
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0].split(". ")[0][:100] if str(error) else type(error).__name__
        raise DataError(f"{path}: not a Parquet file that can be read ({reason})") from None
    names = found.column_names
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataError(f"{path}: column {twice[:60]!r} is there twice; keep one")
    if not found.num_rows:
        raise DataError(f"{path}: there are no rows; write at least one")
    return found
