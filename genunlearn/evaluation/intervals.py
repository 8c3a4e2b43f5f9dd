"""95% intervals: exact for shares, bootstrap for means."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEVEL = 0.95
RESAMPLES = 2000


def share(successes: int, n: int) -> tuple[float, float, float]:
    """A share with its exact (Clopper-Pearson) interval.

    Args:
        successes: How many of `n`.
        n: Number of items, at least 1.

    Returns:
        ``(value, low, high)``.
    """
    from scipy.stats import binomtest

    interval = binomtest(successes, n).proportion_ci(LEVEL, method="exact")
    return successes / n, float(interval.low), float(interval.high)


def mean(values: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """A mean with its percentile bootstrap interval over items.

    Args:
        values: One number an item, at least one.
        seed: Seed of the resampling.

    Returns:
        ``(value, low, high)``; the three are equal for a single item.
    """
    data = np.asarray(values, dtype=np.float64)
    picks = np.random.default_rng(seed).integers(0, len(data), size=(RESAMPLES, len(data)))
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(data[picks].mean(axis=1), [tail, 100 - tail])
    return float(data.mean()), float(low), float(high)
