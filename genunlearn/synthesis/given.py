"""Given: synthetic rows that somebody else has made, read from a file.

    x_s = the rows of the file

Source: whoever wrote it.
Deviations: none. What they were learnt from is not known here, so the rows are the same before and after a deletion.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT
from genunlearn.data.tables import Table, like, read_columns
from genunlearn.errors import DataError
from genunlearn.synthesis.base import Generator


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Given(Generator):
    """Rows of a file with the columns of the real table."""

    name: ClassVar[str] = "given"
    paper: ClassVar[str] = "a file"
    equation: ClassVar[str] = "x_s = the rows of the file"

    file: Annotated[str, Field(description="CSV, JSON lines or Parquet")] = ""

    def draw(self, real: Table, rows: int, seed: int) -> Table:
        """All rows of the file, in its order."""
        return self.read(real)

    def read(self, real: Table) -> Table:
        """The rows of the file in the terms of the real table.

        Raises:
            SourceNotFound: There is no such file.
            DataError: None is named, or it is no such table.
        """
        if not self.file:
            raise DataError("method.file is empty: name the file of the synthetic rows (--synthetic FILE)")
        return like(real, read_columns(self.file), self.file)
