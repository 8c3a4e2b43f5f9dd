"""What values are good for, measured: mislabelled items found, items removed or added by value, corrupted inputs found.

The four benchmarks of the field, as OpenDataVal has them (Jiang et al., NeurIPS 2023): every one takes values where
high is good.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from genunlearn.valuation.game import Floats, Game, Rows

Order = Literal["high_first", "low_first", "random"]


def flip_labels(targets: NDArray[Any], share: float, seed: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Targets of which a share is another class, drawn evenly, and which these are."""
    generator, classes = np.random.default_rng(seed), np.unique(targets)
    is_bad = generator.permutation(len(targets)) < round(share * len(targets))
    shifted = (np.searchsorted(classes, targets) + generator.integers(1, len(classes), len(targets))) % len(classes)
    return np.where(is_bad, classes[shifted], targets), is_bad


def corrupt_inputs(inputs: Floats, share: float, seed: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Inputs ``(n, d)`` of which a share is noise with each column's mean and spread, and which these are."""
    generator = np.random.default_rng(seed)
    is_bad = generator.permutation(len(inputs)) < round(share * len(inputs))
    noise = generator.normal(inputs.mean(0), inputs.std(0), inputs.shape)
    return np.where(is_bad[:, None], noise, inputs), is_bad


def lowest(values: Floats, count: int) -> NDArray[np.bool_]:
    """Marks the `count` lowest values, the earlier of equal ones."""
    is_low = np.zeros(len(values), dtype=bool)
    is_low[values.argsort(kind="stable")[:count]] = True
    return is_low


def lower_cluster(values: Floats) -> NDArray[np.bool_]:
    """Marks the lower of two clusters of values (2-means), for who does not know how many are bad."""
    ordered = np.sort(values)
    sums, squares, count = ordered.cumsum(), (ordered**2).cumsum(), np.arange(1, len(ordered))
    below = squares[:-1] - sums[:-1] ** 2 / count
    above = (squares[-1] - squares[:-1]) - (sums[-1] - sums[:-1]) ** 2 / (len(ordered) - count)
    return values <= ordered[int((below + above).argmin())]


def f1(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Harmonic mean of precision and recall; 0 where nothing is found."""
    hits = float((found & truth).sum())
    return 2 * hits / max(float(found.sum() + truth.sum()), 1.0)


def curve(game: Game, values: Floats, shares: Floats, order: Order, *, adds: bool = False, seed: int = 0) -> Floats:
    """What is earned after shares of the players are removed, or with only these; one training a share.

    Args:
        game: The players.
        values: Of the players.
        shares: From 0 to 1.
        order: Which go, or come, first.
        adds: Whether players come instead of going.
        seed: Decides ``random``.
    """
    ranked = ranking(values, order, seed)
    taken = [round(float(share) * len(ranked)) for share in shares]
    return np.array([game(ranked[:count] if adds else ranked[count:]) for count in taken])


def ranking(values: Floats, order: Order, seed: int = 0) -> Rows:
    """Players in the order in which they go or come."""
    if order == "random":
        return np.random.default_rng(seed).permutation(len(values))
    return (-values if order == "high_first" else values).argsort(kind="stable")


def spread_over_kinds(values: Floats, kinds: Rows) -> Rows:
    """Items by value, high first, one of each kind in turn: a small set of the best that leaves no kind out."""
    best = (-values).argsort(kind="stable")
    turn = np.zeros(len(values), dtype=np.int64)
    for kind in np.unique(kinds):
        own = best[kinds[best] == kind]
        turn[own] = np.arange(len(own))
    return best[turn[best].argsort(kind="stable")]
