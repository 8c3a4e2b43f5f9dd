"""Whether two shares differ, and by how much at most: what a verdict on an audited model rests on.

    p        Fisher's exact test, one-sided: the first share is the larger one
    Holm     p_(i) (m - i + 1), made non-decreasing: all of m tests together err with the probability of one
    upper    d + sqrt((u_1 - p_1)^2 + (p_2 - l_2)^2), d = p_1 - p_2, with Wilson's limits l, u, 95% unless told

Sources: Holm, "A Simple Sequentially Rejective Multiple Test Procedure" (1979); Newcombe, "Interval estimation for the
difference between independent proportions" (1998), method 10.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

ALPHA = 0.05
"""Probability of error."""


class Share(NamedTuple):
    """`hits` of `n`."""

    hits: int
    n: int

    @property
    def value(self) -> float:
        """The share."""
        return self.hits / self.n


def is_larger_p(first: Share, second: Share) -> float:
    """The probability of a gap like this one or a larger one if both had the same share (Fisher, one-sided)."""
    from scipy.stats import fisher_exact

    table = [[first.hits, first.n - first.hits], [second.hits, second.n - second.hits]]
    return float(fisher_exact(table, alternative="greater").pvalue)


def holm(probabilities: Sequence[float]) -> list[float]:
    """Adjusted probabilities, in the given order."""
    order = sorted(range(len(probabilities)), key=lambda place: probabilities[place])
    adjusted, largest = [0.0] * len(order), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, probabilities[place] * (len(order) - rank)))
        adjusted[place] = largest
    return adjusted


def combined_p(probabilities: Sequence[float]) -> float:
    """One probability from several independent ones, by Fisher's method: -2 sum ln p is chi-squared with 2n degrees."""
    from scipy.stats import combine_pvalues

    return float(combine_pvalues(list(probabilities), method="fisher").pvalue)


def largest_gap(first: Share, second: Share, alpha: float = ALPHA) -> float:
    """The upper limit of how much larger the first share is, of an interval that misses it with probability `alpha`."""
    _, upper = _wilson(first, alpha)
    lower, _ = _wilson(second, alpha)
    gap = first.value - second.value
    return gap + math.sqrt((upper - first.value) ** 2 + (second.value - lower) ** 2)


def images_needed(
    first: Share, second: Share, tolerance: float, alpha: float = ALPHA, most: int = 10_000
) -> int | None:
    """How many images of each model would bring `largest_gap` down to `tolerance` if the shares stayed as they are.

    None where no number up to `most` would.
    """
    n = max(first.n, second.n)
    while n <= most:
        if largest_gap(Share(round(first.value * n), n), Share(round(second.value * n), n), alpha) <= tolerance:
            return n
        n = math.ceil(1.2 * n)
    return None


def _wilson(share: Share, alpha: float) -> tuple[float, float]:
    from scipy.stats import binomtest

    interval = binomtest(share.hits, share.n).proportion_ci(1 - alpha, method="wilson")
    return float(interval.low), float(interval.high)
