"""Bootstrap: real rows drawn with replacement; as like the table as can be, and no more private than it.

    x_s = x_r[u],  u uniform over the real rows

Source: Efron, "Bootstrap Methods: Another Look at the Jackknife" (1979).
Deviations: none. It is here as the end of the scale: whatever calls it private is broken.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT
from genunlearn.data.tables import Table
from genunlearn.synthesis.base import Generator


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Bootstrap(Generator):
    """Copies of real rows."""

    name: ClassVar[str] = "bootstrap"
    paper: ClassVar[str] = "Efron, 1979"
    equation: ClassVar[str] = "x_s = x_r[u]"

    def draw(self, real: Table, rows: int, seed: int) -> Table:
        """Copy rows."""
        return real.take(np.random.default_rng(seed).integers(0, len(real), rows))
