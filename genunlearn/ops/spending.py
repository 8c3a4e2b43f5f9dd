"""Several looks at a growing sample: how much of the probability of error each of them may spend.

    spent(t) = alpha t^2, t = n / n_most        alpha_k = spent(t_k) - spent(t_(k-1))

By Bonferroni's inequality all looks together err with probability alpha at most, whatever is tested at each: exact
tests stay exact. The first looks spend little, so that the last is nearly as sharp as a single one would have been.

Sources: Lan and DeMets, "Discrete Sequential Boundaries for Clinical Trials" (1983); Kim and DeMets, "Design and
Analysis of Group Sequential Tests Based on the Type I Error Spending Rate Function" (1987), the power family with
rho = 2, between Pocock's bounds (rho near 1) and those of O'Brien and Fleming (near 3). Deviation: the correlation of
the looks, known for normal statistics alone, does not raise the later levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def looks_between(first: int, most: int) -> tuple[int, ...]:
    """Sizes of the sample at each look: doubled from `first` on, `most` the last."""
    sizes = [first]
    while 2 * sizes[-1] < most:
        sizes.append(2 * sizes[-1])
    return tuple(sizes) if sizes[-1] >= most else (*sizes, most)


def spend(sizes: Sequence[int], alpha: float) -> tuple[float, ...]:
    """The level of each look.

    Args:
        sizes: Size of the sample at each look, ascending; the last one is the most there will be.
        alpha: Probability of error of all looks together.
    """
    spent = [0.0, *(alpha * (size / sizes[-1]) ** 2 for size in sizes)]
    return tuple(later - earlier for earlier, later in pairwise(spent))
