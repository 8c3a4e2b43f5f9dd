"""What a generator of synthetic rows is: a frozen dataclass whose fields are its hyper-parameters."""

from __future__ import annotations

import abc
from typing import ClassVar

from genunlearn.data.tables import Table


class Generator(abc.ABC):
    """Learns from a table and draws rows of the same columns."""

    name: ClassVar[str]
    paper: ClassVar[str] = ""
    equation: ClassVar[str] = ""

    @abc.abstractmethod
    def draw(self, real: Table, rows: int, seed: int) -> Table:
        """Learn from `real` alone and draw `rows` rows; the same arguments give the same rows."""
