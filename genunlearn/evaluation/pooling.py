"""What several oracles say together."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from genunlearn.ops.intervals import over_seeds
from genunlearn.records import Result


def pool(column: Sequence[Result], shares: Collection[str]) -> Result:
    """One result of several oracles: the mean, with its t-interval over them; skipped if one of them is.

    Args:
        column: The same result of each oracle.
        shares: Names of metrics between 0 and 1, whose intervals are cut there.
    """
    if missing := next((result for result in column if result.value is None), None):
        return missing
    value, low, high = over_seeds([result.value for result in column if result.value is not None])
    if column[0].name in shares:
        low, high = None if low is None else max(0.0, low), None if high is None else min(1.0, high)
    return replace(column[0], value=value, low=low, high=high)
