"""Columns as normal scores and back: each value becomes the normal quantile of its rank, whatever its distribution.

    z = Phi^-1(F(x)),   x = F^-1(Phi(z))

F is the empirical distribution of the real column: linear between its values, so that drawn numbers lie between real
ones and never beyond the ends. Values that are equal share their interval of ranks, in which a draw places each at
random; a category is the interval of ranks that it holds. Blanks come first, as a value of their own.
"""

from __future__ import annotations

import numpy as np

from genunlearn.data.tables import Floats, Table

EDGE = 1e-6
"""Ranks are kept this far from 0 and 1."""


class NormalScores:
    """The distributions of the columns of a table."""

    def __init__(self, real: Table) -> None:
        """Sort each column; blanks come first."""
        self._real = real
        filled = np.where(np.isnan(real.values), -np.inf, real.values)
        self._sorted: Floats = np.sort(filled, axis=0)
        self._filled: Floats = filled

    def __call__(self, seed: int) -> Floats:
        """Scores of the real rows, ``(rows, columns)``; the seed places equal values."""
        generator, count = np.random.default_rng(seed), len(self._filled)
        found = np.zeros_like(self._filled)
        for place, (ordered, values) in enumerate(zip(self._sorted.T, self._filled.T, strict=True)):
            low, high = (np.searchsorted(ordered, values, side=side) for side in ("left", "right"))
            found[:, place] = (low + generator.random(count) * (high - low)) / count
        return to_scores(found)

    def back(self, scores: Floats) -> Table:
        """Rows whose columns have these scores."""
        from scipy.stats import norm

        ranks = norm.cdf(scores)
        values = np.stack([self._value(place, ranks[:, place]) for place in range(scores.shape[1])], axis=1)
        return self._real.having(np.where(np.isneginf(values), np.nan, values))

    def _value(self, place: int, ranks: Floats) -> Floats:
        ordered, count = self._sorted[:, place], len(self._sorted)
        blanks = int(np.isneginf(ordered).sum())
        if self._real.columns[place].is_category or blanks == count:
            return ordered[np.minimum((ranks * count).astype(int), count - 1)]
        known = ordered[blanks:]
        inside = np.interp((ranks * count - blanks) - 0.5, np.arange(len(known)), known)
        return np.where(ranks * count < blanks, -np.inf, inside)


def to_scores(ranks: Floats) -> Floats:
    """Normal quantiles of ranks between 0 and 1."""
    from scipy.stats import norm

    found: Floats = norm.ppf(ranks.clip(EDGE, 1 - EDGE))
    return found
