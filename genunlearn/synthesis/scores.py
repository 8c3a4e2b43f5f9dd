"""Columns as normal scores and back: each value becomes the normal quantile of its rank, whatever its distribution.

    z = Phi^-1(F(x)),   x = F^-1(Phi(z))

F is the empirical distribution of the real column: linear between its values, so that drawn numbers lie between real
ones and never beyond the ends. Values that are equal share their interval of ranks, in which the seed places each; a
category is the interval of ranks that it holds.
"""

from __future__ import annotations

import numpy as np

from genunlearn.data.tables import Floats, Table

EDGE = 1e-6
"""Ranks are kept this far from 0 and 1."""


class NormalScores:
    """The distributions of the columns of a table without blanks."""

    def __init__(self, real: Table) -> None:
        """Sort each column."""
        self._real, self._sorted = real, np.sort(real.values, axis=0)

    def __call__(self, seed: int) -> Floats:
        """Scores of the real rows, ``(rows, columns)``; the seed places equal values."""
        from scipy.stats import norm

        generator, count = np.random.default_rng(seed), len(self._sorted)
        ranks = np.zeros_like(self._sorted)
        for place, (ordered, values) in enumerate(zip(self._sorted.T, self._real.values.T, strict=True)):
            low, high = (np.searchsorted(ordered, values, side=side) for side in ("left", "right"))
            ranks[:, place] = (low + generator.random(count) * (high - low)) / count
        found: Floats = norm.ppf(ranks.clip(EDGE, 1 - EDGE))
        return found

    def back(self, scores: Floats) -> Floats:
        """Values whose scores these are, ``(rows, columns)``."""
        from scipy.stats import norm

        places = norm.cdf(scores) * len(self._sorted)
        return np.stack([self._values(j, places[:, j]) for j in range(scores.shape[1])], axis=1)

    def _values(self, column: int, places: Floats) -> Floats:
        ordered, count = self._sorted[:, column], len(self._sorted)
        if self._real.columns[column].is_category:
            found: Floats = ordered[np.minimum(places.astype(int), count - 1)]
            return found
        return np.interp(places - 0.5, np.arange(count), ordered)
