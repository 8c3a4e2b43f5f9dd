"""95% intervals: exact for shares, bootstrap for means over items, Student's t over seeds, and for shares of pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Estimate = tuple[float, float, float]
"""A value with the ends of its interval."""

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


def bounded_mean(values: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """A mean of values in [0, 1] with its bootstrap interval, which is never a point at either end.

    Where all values are 0, or all 1, resampling finds nothing else: the interval is then the exact one of a share.

    Args:
        values: One number an item, at least one.
        seed: Seed of the resampling.

    Returns:
        ``(value, low, high)``.
    """
    ends = {*values}
    if len(ends) == 1 and ends <= {0.0, 1.0}:
        return share(int(sum(values)), len(values))
    return mean(values, seed)


def harmonic_mean(sets: Sequence[Sequence[Sequence[float]]], seed: int = 0) -> tuple[float, float, float]:
    """The harmonic mean of several means with its percentile bootstrap interval; 0 where one of them is.

    Args:
        sets: By set of items, what the means are taken of, each with one number, at least 0, for every item of the set;
            the items of a set are drawn together.
        seed: Seed of the resampling.

    Returns:
        ``(value, low, high)``.
    """
    rows = [np.asarray(numbers, dtype=np.float64) for numbers in sets]
    generator = np.random.default_rng(seed)
    drawn = []
    for numbers in rows:
        picks = generator.integers(0, numbers.shape[1], size=(RESAMPLES, numbers.shape[1]))
        drawn.append(numbers[:, picks].mean(axis=2))
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(_harmonic(np.concatenate(drawn)), [tail, 100 - tail])
    return float(_harmonic(np.concatenate([numbers.mean(axis=1) for numbers in rows]))), float(low), float(high)


def _harmonic(means: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return len(means) / (1 / means).sum(axis=0)


def of_pairs(value: float, first: int, second: int) -> tuple[float, float]:
    """The interval of a share of pairs, one item of each of two samples; however few they are, it is never a point.

    It holds each p with ``|value - p| <= z sqrt(V(p))``, where

        V(p) = p (1 - p) (1 + ((m + n) / 2 - 1) ((1 - p) / (2 - p) + p / (1 + p))) / (m n)

    Source: Newcombe, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic", part 2,
    method 5 (Statistics in Medicine 2006).

    Args:
        value: The share of the pairs in which the item of the first sample is the lesser, from 0 to 1.
        first: m, items of the first sample, at least 1.
        second: n, items of the second one.

    Returns:
        ``(low, high)``.
    """
    return _low_of_pairs(value, first, second), 1 - _low_of_pairs(1 - value, first, second)


def _low_of_pairs(value: float, first: int, second: int) -> float:
    from scipy.optimize import brentq
    from scipy.stats import norm

    if value <= 0:
        return 0.0
    quantile, more = float(norm.ppf((1 + LEVEL) / 2)), (first + second) / 2 - 1

    def beyond(p: float) -> float:
        spread = p * (1 - p) * (1 + more * ((1 - p) / (2 - p) + p / (1 + p))) / (first * second)
        return value - p - quantile * math.sqrt(spread)

    return float(brentq(beyond, 0, min(value, 1 - 1e-9)))


def difference(first: Estimate, second: Estimate) -> Estimate:
    """What one share is above another of other items, by their own intervals.

    The ends are ``d - sqrt((a - a_low)^2 + (b_high - b)^2)`` and ``d + sqrt((a_high - a)^2 + (b - b_low)^2)``.

    Source: Newcombe, "Interval estimation for the difference between independent proportions", method 10
    (Statistics in Medicine 1998), there with Wilson's intervals.

    Args:
        first: ``(value, low, high)`` of a share.
        second: That of the share that is taken off.

    Returns:
        ``(value, low, high)``.
    """
    (a, a_low, a_high), (b, b_low, b_high) = first, second
    return a - b, a - b - math.hypot(a - a_low, b_high - b), a - b + math.hypot(a_high - a, b - b_low)


def over_seeds(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """A mean over runs that differ in their seed, with its t-interval.

    Args:
        values: One number a run, at least one.

    Returns:
        ``(value, low, high)``; a single run says nothing about the spread, so its ends are None.
    """
    value = float(np.mean(values))
    if len(values) < 2:
        return value, None, None
    half = _t_quantile(len(values)) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return value, value - half, value + half


def next_seed(values: Sequence[float]) -> float:
    """How far one more run may lie from the mean of these: half the width of the t prediction interval.

    Args:
        values: One number a run, at least two.
    """
    return _t_quantile(len(values)) * float(np.std(values, ddof=1)) * math.sqrt(1 + 1 / len(values))


def _t_quantile(runs: int) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + LEVEL) / 2, runs - 1))
