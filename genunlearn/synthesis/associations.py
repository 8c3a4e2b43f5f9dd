"""How strongly columns hang together: Pearson, correlation ratio, Theil's U.

    numbers, numbers        r = cov(x, y) / (sd x sd y)
    category, numbers       eta = sqrt( sum_c n_c (mean_c - mean)^2 / sum (y - mean)^2 )
    category, category      U(x | y) = (H(x) - H(x | y)) / H(x), which is not symmetric

A column of one value hangs together with none: 0. Pairs with a missing number are left out of their association.
"""

from __future__ import annotations

import numpy as np

from genunlearn.data.tables import Floats, Table


def associations(table: Table) -> Floats:
    """``(columns, columns)`` with 1 on the diagonal; of two categories the row given the column."""
    count, is_category = len(table.columns), table.is_category
    found = np.eye(count)
    for i in range(count):
        for j in range(i + 1, count):
            x, y = table.values[:, i], table.values[:, j]
            known = ~np.isnan(x) & ~np.isnan(y)
            x, y = x[known], y[known]
            if is_category[i] and is_category[j]:
                found[i, j], found[j, i] = theils_u(x, y), theils_u(y, x)
            elif is_category[i] or is_category[j]:
                found[i, j] = found[j, i] = correlation_ratio(*((x, y) if is_category[i] else (y, x)))
            else:
                found[i, j] = found[j, i] = pearson(x, y)
    return found


def pearson(x: Floats, y: Floats) -> float:
    """Correlation of two columns of numbers, in [-1, 1]."""
    if is_constant(x) or is_constant(y):
        return 0.0
    a, b = x - x.mean(), y - y.mean()
    return float(np.clip(a @ b / np.sqrt((a @ a) * (b @ b)), -1, 1))


def correlation_ratio(categories: Floats, numbers: Floats) -> float:
    """How far a category tells a number, in [0, 1]."""
    if is_constant(categories) or is_constant(numbers):
        return 0.0
    kinds = np.unique(categories, return_inverse=True)[1]
    counts = np.bincount(kinds)
    means = np.bincount(kinds, numbers) / counts
    middle = numbers.mean()
    between, total = (counts * (means - middle) ** 2).sum(), ((numbers - middle) ** 2).sum()
    return float(np.sqrt(np.clip(between / total, 0, 1)))


def theils_u(x: Floats, y: Floats) -> float:
    """Which share of the entropy of the category x the category y takes away, in [0, 1]."""
    if is_constant(x) or is_constant(y):
        return 0.0
    pairs = np.unique(np.stack([x, y], axis=1), axis=0, return_counts=True)[1] / len(x)
    own, other = (np.unique(part, return_counts=True)[1] / len(part) for part in (x, y))
    return float(np.clip((_entropy(own) + _entropy(other) - _entropy(pairs)) / _entropy(own), 0, 1))


def is_constant(values: Floats) -> bool:
    """Whether a column has one value, or none, or differs by no more than rounding."""
    return not len(values) or float(np.ptp(values)) <= 1e-12 * float(np.abs(values).max())


def _entropy(shares: Floats) -> float:
    return float(-(shares * np.log(shares)).sum())
