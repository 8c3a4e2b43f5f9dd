"""A table as a matrix for estimators, distances and networks, always in the terms of the real table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from genunlearn.data.tables import Column, Floats, Table


class Encoding:
    """What was seen in the real rows: means and spreads of numbers, which have gaps, and the categories.

    Numbers are standardised, a missing one is the mean, and a column with gaps has an indicator of them beside it.
    Categories are indicators; one that the real table does not know is in none of them.
    """

    def __init__(self, real: Table, columns: Sequence[int] | None = None) -> None:
        """Take the terms from `real`; `columns` leaves others out."""
        self.places = list(range(len(real.columns))) if columns is None else list(columns)
        self.columns: tuple[Column, ...] = real.columns
        numbers = np.ma.masked_invalid(real.values)
        self.middle: Floats = numbers.mean(0).filled(0.0)
        spread: Floats = numbers.std(0).filled(0.0)
        self.spread = np.where(spread > 1e-12 * (1 + np.abs(self.middle)), spread, 1.0)
        self.has_gaps: NDArray[np.bool_] = np.any(np.isnan(real.values), axis=0)

    def __call__(self, table: Table, category_weight: float = 1.0) -> Floats:
        """``(rows, features)``; indicators are `category_weight` high."""
        parts: list[Floats] = []
        for place in self.places:
            values, levels = table.values[:, place], self.columns[place].levels
            if levels is not None:
                parts.append(category_weight * np.equal(values[:, None], np.arange(len(levels))[None]))
                continue
            gaps = np.isnan(values)
            numbers: Floats = (values - self.middle[place]) / self.spread[place]
            numbers[gaps] = 0.0
            parts.append(numbers[:, None])
            if self.has_gaps[place]:
                parts.append(category_weight * gaps[:, None].astype(np.float64))
        return np.concatenate(parts, axis=1).astype(np.float64)
