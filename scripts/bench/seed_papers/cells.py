"""Cells of the tables: means over seeds with their t-interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

from genunlearn.ops.intervals import over_seeds


def over(
    values: Sequence[float], digits: int = 2, factor: float = 1.0, least: float = -math.inf, most: float = math.inf
) -> str:
    """``mean [low, high]`` of the values times `factor`, the interval cut; a single seed has no interval."""
    mean, low, high = over_seeds([factor * value for value in values])
    if low is None or high is None:
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} [{max(low, least):.{digits}f}, {min(high, most):.{digits}f}]"


def percent(values: Sequence[float]) -> str:
    """The same for shares, in percent."""
    return over(values, 1, 100.0, 0.0, 100.0)
