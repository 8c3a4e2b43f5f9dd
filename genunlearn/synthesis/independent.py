"""Independent marginals: every column drawn by itself; right column by column, and nothing hangs together.

    x_s[j] = x_r[u_j, j],  u_j uniform over the real rows, one for each column

Source: the usual lower baseline of the field, for instance in SDMetrics.
Deviations: none. A row is almost never a real one, but every cell is.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT
from genunlearn.data.tables import Table
from genunlearn.synthesis.base import Generator


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Independent(Generator):
    """Each column for itself."""

    name: ClassVar[str] = "independent"
    paper: ClassVar[str] = "a baseline"
    equation: ClassVar[str] = "x_s[j] = x_r[u_j, j]"

    def draw(self, real: Table, rows: int, seed: int) -> Table:
        """Draw each cell from its column."""
        picks = np.random.default_rng(seed).integers(0, len(real), (rows, len(real.columns)))
        return real.having(np.take_along_axis(real.values, picks, axis=0))
