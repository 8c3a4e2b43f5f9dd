"""TabSynDex with the arithmetic that was published, so that published scores can be compared with; see `tabsyndex`.

    e(a, b) = min(|a - b| / |a + 1e-6|, 1)
    basic    1 - mean over columns of e of means, population deviations and medians, categories by their numbers
    corr     1 - sum e(L(a_r), L(a_s)) / (n^2 - n),  L(a) = sign(a) ln |a|
    ml       1 - mean of eight e: four estimators learnt from real and four from synthetic rows, each asked about both
    pmse     1.2^-|1 - rho|
    support  mean over columns of min(1, mean over categories or bins with real rows of min(share_s / share_r, 2))

Source: ``tabsyndex.py`` of the authors, with the associations and encoding of dython 0.6.6.
Deviations: the rows of `pmse` are not shuffled, which the authors do without a seed; what needs functions that their
libraries have since taken out is written anew.

What is wrong with it, and is mended in `tabsyndex`: an exact copy scores rho = 0, so 0.833; one association of 0, as of
a column with one value, is ln 0 and makes all of `corr` 0; at an association near 1, L is near 0 and any difference
counts whole, as in `basic` at a mean near 0; estimators are asked about the rows that they learnt; `numpy` numbers of
categories have means; a category of three or more levels is split before the target is looked up by its place, so of
such a target only the last level is predicted, from the others; the two levels of a category are numbered by which
stands first; Lasso and ElasticNet have a penalty of 1 for targets between 0 and 1, and answer with the mean; a bin held
twice over makes up for an empty one, and synthetic rows outside of all bins cost nothing.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from genunlearn.data.tables import Floats, Table
from genunlearn.errors import DataError
from genunlearn.synthesis.associations import associations

BINS = 20
Named = dict[str, Floats]
"""Columns of an encoded table by their names, in order."""


def published(real: Table, fake: Table) -> dict[str, float]:
    """The five parts.

    Raises:
        DataError: The arithmetic has no value: a number is missing, or a category on one side.
    """
    for name, table in (("real", real), ("synthetic", fake)):
        if np.isnan(table.values).any():
            raise DataError(f"TabSynDex as published knows no blanks, and the {name} table has some: fill them in")
    low, high = real.values.min(0), real.values.max(0)
    unit = np.where(high > low, high - low, 1.0)
    scaled = [table.having((table.values - low) / unit) for table in (real, fake)]
    return {
        "basic": _basic(real.values, fake.values),
        "corr": _corr(real, fake),
        "ml": _ml(*scaled),
        "pmse": _pmse(*(table.values for table in scaled)),
        "support": _support(real, fake),
    }


def error(a: Any, b: Any) -> Floats:
    """Relative errors, at most 1; NaN stays NaN."""
    found: Floats = np.clip(np.abs(a - b) / np.abs(a + 1e-6), 0, 1)
    return found


def _one_less(score: float) -> float:
    return 1 - score if score <= 1.0 else 0.0  # NaN is not at most 1


def _basic(real: Floats, fake: Floats) -> float:
    sums = [error(f(real, axis=0), f(fake, axis=0)).sum() for f in (np.mean, np.std, np.median)]
    return _one_less(float(sum(sums)) / (3 * real.shape[1]))


def _corr(real: Table, fake: Table) -> float:
    count = len(real.columns)
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = (np.sign(a) * np.log(np.abs(a)) for a in map(_associations, (real, fake)))
        return _one_less(float(error(first, second).sum()) / (count**2 - count))


def _associations(table: Table) -> Floats:
    """Those of dython: a column of one value has 0 with itself too."""
    found = associations(table)
    is_single = np.ptp(table.values, axis=0) == 0
    found[is_single] = 0
    found[:, is_single] = 0
    return found


def _encoded(table: Table) -> Named:
    """Categories of two levels numbered as they come, of more as indicators; scaled numbers as they are."""
    found: Named = {}
    for column, values in zip(table.columns, table.values.T, strict=True):
        levels = np.unique(values)
        if column.levels is None:
            found[column.name] = values
        elif len(levels) <= 2:
            found[column.name] = (values != values[0]).astype(np.float64)
        else:
            found |= {f"{column.name}_{level}": (values == level).astype(np.float64) for level in levels}
    return found


def _ml(real: Table, fake: Table) -> float:
    columns, others = _encoded(real), _encoded(fake)
    if columns.keys() != others.keys():
        name = next(iter(columns.keys() ^ others.keys()))
        raise DataError(
            f"TabSynDex as published needs the same categories in both tables, and {name.rpartition('_')[0]!r} has "
            "others: leave compat out"
        )
    # The place of the target counts columns after categories were split.
    target = list(columns)[-1 if real.target == len(real.columns) - 1 else real.target]
    inputs, truths = [], []
    for encoded in (columns, others):
        inputs.append(np.stack([values for name, values in encoded.items() if name != target], axis=1))
        truths.append(encoded[target])
    is_class = real.columns[real.target].is_category
    told = [[_fitted(one, inputs[side], truths[side]) for one in _estimators(is_class)] for side in (0, 1)]
    scores = [
        [_score(truths[side], one.predict(inputs[side]), is_class) for side in (0, 1) for one in learnt]
        for learnt in told
    ]
    return _one_less(float(error(np.array(scores[0]), np.array(scores[1])).sum()) / 8)


def _estimators(is_class: bool) -> list[Any]:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
    from sklearn.linear_model import ElasticNet, Lasso, LogisticRegression, Ridge
    from sklearn.neural_network import MLPClassifier
    from sklearn.tree import DecisionTreeClassifier

    if is_class:
        return [
            LogisticRegression(max_iter=5000, random_state=42),
            RandomForestClassifier(n_estimators=10, random_state=42),
            DecisionTreeClassifier(random_state=42),
            MLPClassifier([50, 50], solver="adam", activation="relu", learning_rate="adaptive", random_state=42),
        ]
    return [
        RandomForestRegressor(n_estimators=20, max_depth=5, random_state=42),
        Lasso(random_state=42, max_iter=5000),
        Ridge(alpha=1.0, random_state=42),
        ElasticNet(max_iter=5000, random_state=42),
    ]


def _fitted(estimator: Any, inputs: Floats, targets: Floats) -> Any:
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            return estimator.fit(inputs, targets)
        except ValueError as fault:
            reason = str(fault).splitlines()[0][:100]
            raise DataError(f"TabSynDex as published cannot teach its estimators: {reason}; leave compat out") from None


def _score(truth: Floats, answers: Floats, is_class: bool) -> float:
    """Micro F1, which for one label a row is accuracy; the root mean squared error of numbers."""
    if is_class:
        return float((truth == answers).mean())
    return float(np.sqrt(((truth - answers) ** 2).mean()))


def _pmse(real: Floats, fake: Floats) -> float:
    from sklearn.linear_model import LogisticRegression

    inputs = np.concatenate([real, fake])
    is_fake = (np.arange(len(inputs)) >= len(real)).astype(int)
    told = LogisticRegression(max_iter=5000, random_state=42).fit(inputs, is_fake).predict_proba(inputs)[:, 1]
    share = len(fake) / len(inputs)
    expected = real.shape[1] * (1 - share) ** 2 * share / len(inputs)
    return math.pow(1.2, -abs(1 - float(((told - share) ** 2).mean()) / expected))


def _support(real: Table, fake: Table) -> float:
    found = []
    for place, column in enumerate(real.columns):
        a, b = real.values[:, place], fake.values[:, place]
        if column.levels is not None:
            kinds = np.unique(a)
            counts, others = (np.array([(side == kind).sum() for kind in kinds]) for side in (a, b))
            if not others.all():
                lacking = column.levels[int(kinds[int(others.argmin())])]
                raise DataError(
                    f"TabSynDex as published has no value where a category lacks: {column.name!r} is never "
                    f"{lacking!r} in the synthetic rows; leave compat out"
                )
        else:
            edges = _edges(a)
            counts, others = (_binned(side, edges) for side in (a, b))
        held = counts > 0
        ratios = np.minimum(others[held] / counts[held] * (len(a) / len(b)), 2)
        found.append(min(float(ratios.mean()), 1.0))
    return float(np.mean(found))


def _edges(values: Floats) -> Floats:
    """Edges of 20 equal bins as ``pandas.cut`` has them: the lowest a thousandth of the range below the least value."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        margin = 0.001 * abs(low) if low else 0.001
        return np.linspace(low - margin, high + margin, BINS + 1)
    edges = np.linspace(low, high, BINS + 1)
    edges[0] -= 0.001 * (high - low)
    return edges


def _binned(values: Floats, edges: Floats) -> Floats:
    """How many lie in each bin, whose upper edge belongs to it."""
    places = np.searchsorted(edges, values, side="left")
    inside = places[(places > 0) & (places <= BINS) & (values > edges[0])]
    return np.bincount(inside - 1, minlength=BINS).astype(np.float64)
