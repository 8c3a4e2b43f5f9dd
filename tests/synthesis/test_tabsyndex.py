"""TabSynDex: the published arithmetic on three tables worked out apart from it, what was wrong there, and the mend."""

from __future__ import annotations

import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import ElasticNet, Lasso, LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier
from sklearn.tree import DecisionTreeClassifier

from genunlearn.data.tables import Column, Table
from genunlearn.errors import DataError
from genunlearn.synthesis import tabsyndex as mended
from genunlearn.synthesis.associations import associations, correlation_ratio, pearson, theils_u
from genunlearn.synthesis.tabsyndex import as_row, tabsyndex
from genunlearn.synthesis.tabsyndex_published import published

X, Y = Column("x"), Column("y")
NUMBERS = (
    Table(columns=(X, Y), values=np.array([[1, 2], [2, 1], [3, 4], [4, 3], [5, 6], [6, 5.0]]), target=1),
    Table(columns=(X, Y), values=np.array([[1, 3], [2, 1], [3, 2], [4, 5], [5, 4], [9, 6.0]]), target=1),
)
"""Two columns of numbers."""
KIND, CLASS = Column("kind", ("a", "b")), Column("class", ("n", "p"))
MIXED = (
    Table(
        columns=(X, KIND, CLASS),
        values=np.array([[0, 0, 0], [1, 0, 0], [2, 0, 1], [3, 1, 0], [4, 1, 1], [5, 1, 1.0]]),
        target=2,
    ),
    Table(
        columns=(X, KIND, CLASS),
        values=np.array([[0, 0, 0], [1, 1, 0], [2, 0, 1], [3, 1, 1], [4, 0, 0], [5, 1, 1.0]]),
        target=2,
    ),
)
"""A number and two categories of two levels, whose first rows have the same ones."""
CONSTANT = tuple(
    Table(columns=(X, Column("c"), Y), values=np.insert(table.values, 1, 7.0, axis=1), target=2) for table in NUMBERS
)
"""The first tables with a column of one value between."""


def e(a: float, b: float) -> float:
    return min(abs(a - b) / abs(a + 1e-6), 1.0)


def moments(values: list[int]) -> tuple[float, float, float]:
    """Mean, population deviation and median, from whole numbers."""
    mean = Fraction(sum(values), len(values))
    variance = sum((value - mean) ** 2 for value in values) / len(values)
    ordered = sorted(values)
    middle = Fraction(ordered[(len(values) - 1) // 2] + ordered[len(values) // 2], 2)
    return float(mean), math.sqrt(variance), float(middle)


def basic_by_hand(real: Table, fake: Table) -> float:
    errors = [
        e(a, b)
        for column, other in zip(real.values.T, fake.values.T, strict=True)
        for a, b in zip(moments(column.astype(int).tolist()), moments(other.astype(int).tolist()), strict=True)
    ]
    return 1 - sum(errors) / len(errors)


def pmse_by_hand(real: Table, fake: Table) -> float:
    low, unit = real.values.min(0), np.ptp(real.values, axis=0)
    both = (np.concatenate([real.values, fake.values]) - low) / np.where(unit > 0, unit, 1)
    labels = [0] * len(real) + [1] * len(fake)
    told = LogisticRegression(max_iter=5000, random_state=42).fit(both, labels).predict_proba(both)[:, 1]
    # c = 1/2, N = 12: the expectation is (k - 1) (1/2)^2 (1/2) / 12 = (k - 1) / 96
    ratio = sum((p - 0.5) ** 2 for p in told) / 12 / (real.values.shape[1] / 96)
    return 1.2 ** -abs(1 - ratio)


def eight(estimators, sides, score) -> float:
    """Four estimators taught on each side, each asked about both."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = [
            [score(one().fit(*mine), *asked) for one in estimators for asked in sides] for mine in sides
        ]  # fmt: skip
    return 1 - sum(e(a, b) for a, b in zip(*scores, strict=True)) / 8


def rmse(learnt, inputs, targets) -> float:
    return math.sqrt(sum((a - b) ** 2 for a, b in zip(learnt.predict(inputs), targets, strict=True)) / len(targets))


def accuracy(learnt, inputs, targets) -> float:
    return sum(a == b for a, b in zip(learnt.predict(inputs), targets, strict=True)) / len(targets)


REGRESSORS = (
    lambda: RandomForestRegressor(n_estimators=20, max_depth=5, random_state=42),
    lambda: Lasso(random_state=42, max_iter=5000),
    lambda: Ridge(alpha=1.0, random_state=42),
    lambda: ElasticNet(max_iter=5000, random_state=42),
)
CLASSIFIERS = (
    lambda: LogisticRegression(max_iter=5000, random_state=42),
    lambda: RandomForestClassifier(n_estimators=10, random_state=42),
    lambda: DecisionTreeClassifier(random_state=42),
    lambda: MLPClassifier([50, 50], learning_rate="adaptive", random_state=42),
)


def test_published_on_two_columns_of_numbers():
    real, fake = NUMBERS
    # x: mean 3.5 -> 4, y: 3.5 -> 3.5. Sums of products about the means: 14.5 of 17.5, 17.5; fake 21 of 40, 17.5.
    a, b = math.log(14.5 / 17.5), math.log(21 / math.sqrt(40 * 17.5))
    # Bins of x are a quarter wide, so each of the six values has its own; 9 lies outside: 5 of 6 bins.
    # y holds the same six values.
    sides = [((table.values[:, :1] - 1) / 5, (table.values[:, 1] - 1) / 5) for table in NUMBERS]
    found = published(real, fake)
    assert found["basic"] == pytest.approx(basic_by_hand(real, fake), abs=1e-6)
    assert found["corr"] == pytest.approx(1 - 2 * e(a, b) / 2, abs=1e-6)
    assert found["support"] == pytest.approx((5 / 6 + 1) / 2, abs=1e-6)
    assert found["pmse"] == pytest.approx(pmse_by_hand(real, fake), abs=1e-6)
    assert found["ml"] == pytest.approx(eight(REGRESSORS, sides, rmse), abs=1e-6)


def test_published_on_a_number_and_categories():
    real, fake = MIXED
    # eta^2 of x by kind: means 1 and 4, between 6 * 2.25 = 13.5 of 17.5; by class: 4/3 and 11/3, between 49/6.
    # In the synthetic table by kind: means 2 and 3, 1.5 of 17.5; by class: 5/3 and 10/3, 25/6 of 17.5.
    # U of kind and class, three of each: pairs are 2, 1, 1, 2 of 6 in both tables.
    log = math.log
    u = (2 * log(2) + (2 * log(1 / 3) + log(1 / 6) + log(1 / 6) + 2 * log(1 / 3)) / 6) / log(2)
    etas = [math.sqrt(part / 17.5) for part in (13.5, 49 / 6, 1.5, 25 / 6)]
    gaps = 2 * e(log(etas[0]), log(etas[2])) + 2 * e(log(etas[1]), log(etas[3]))
    sides = [(np.stack([table.values[:, 0] / 5, table.values[:, 1]], 1), table.values[:, 2]) for table in MIXED]
    found = published(real, fake)
    assert associations(real)[1, 2] == pytest.approx(u)
    assert found["basic"] == pytest.approx(1.0, abs=1e-6) == basic_by_hand(real, fake)
    assert found["corr"] == pytest.approx(1 - gaps / 6, abs=1e-6)
    assert found["support"] == pytest.approx(1.0)
    assert found["pmse"] == pytest.approx(pmse_by_hand(real, fake), abs=1e-6)
    assert found["ml"] == pytest.approx(eight(CLASSIFIERS, sides, accuracy), abs=1e-6)


def test_published_with_a_column_of_one_value():
    real, fake = CONSTANT
    found, without = published(real, fake), published(*NUMBERS)
    assert found["corr"] == 0.0  # ln 0
    assert found["basic"] == pytest.approx((2 * without["basic"] + 1) / 3, abs=1e-6)  # the third column is the same
    assert found["support"] == pytest.approx((5 / 6 + 1 + 1) / 3, abs=1e-6)
    assert found["pmse"] == pytest.approx(pmse_by_hand(real, fake), abs=1e-6)
    sides = [
        (np.stack([(table.values[:, 0] - 1) / 5, 0 * table.values[:, 1]], 1), (table.values[:, 2] - 1) / 5)
        for table in CONSTANT
    ]
    assert found["ml"] == pytest.approx(eight(REGRESSORS, sides, rmse), abs=1e-6)


def drawn(rows: int, seed: int, *, shift: float = 0.0, middle: float = 0.0) -> Table:
    """Two numbers that hang together, a category and a class."""
    generator = np.random.default_rng(seed)
    a = generator.standard_normal(rows)
    b = 0.8 * a + 0.6 * generator.standard_normal(rows)
    kind = generator.integers(0, 3, rows)
    label = (a + 0.3 * generator.standard_normal(rows) > 0).astype(float)
    columns = (Column("a"), Column("b"), Column("kind", ("u", "v", "w")), CLASS)
    return Table(columns=columns, values=np.stack([a + middle + shift, b, kind, label], 1), target=3)


def test_a_copy_is_perfect_where_the_published_score_is_not():
    real, held_out = drawn(60, 0), drawn(40, 1)
    assert as_row(tabsyndex(real, real, holdout=held_out)) == dict.fromkeys(("score", *mended.PARTS), pytest.approx(1))
    parts = tabsyndex(real, real, compat=True)
    assert parts.pmse == pytest.approx(1 / 1.2, abs=1e-3)  # rho near 0: two halves that are the same cannot be told
    assert parts.score == pytest.approx((4 + 1 / 1.2) / 5, abs=1e-3)


def test_zero_and_near_one_associations_do_not_decide_all():
    first, second = drawn(60, 0), drawn(60, 1)
    near = [table.having(np.column_stack([table.values[:, :3], table.values[:, 0]])) for table in (first, second)]
    columns = (*first.columns[:3], Column("twin"))
    noise = np.random.default_rng(2).normal(0, 1e-3, 60)
    real = Table(columns=columns, values=near[0].values, target=3)
    fake = Table(columns=columns, values=near[1].values + np.outer(noise, [0, 0, 0, 1]), target=3)
    assert associations(fake)[0, 3] > 0.9999
    assert mended.corr(real, fake) > 0.85
    constant = [Table(columns=columns, values=t.values * [1, 0, 1, 1], target=3) for t in (real, fake)]
    assert published(*constant)["corr"] == 0.0
    assert mended.corr(*constant) > 0.85


def test_a_mean_near_zero_does_not_saturate():
    real, fake = drawn(200, 0), drawn(200, 1)
    far = [table.having(table.values + np.array([1000, 1000, 0, 0])) for table in (real, fake)]
    assert mended.basic(real, fake) == pytest.approx(mended.basic(*far))  # where zero lies says nothing of a column
    assert published(*far)["basic"] - published(real, fake)["basic"] > 0.2


def test_differences_are_in_spreads():
    values = np.arange(10.0)
    real = Table(columns=(X, Y), values=np.stack([values, values], 1), target=1)
    fake = Table(columns=(X, Y), values=np.stack([values + values.std() / 2, values], 1), target=1)
    assert mended.basic(real, fake) == pytest.approx(1 - (0.5 + 0 + 0.5) / 6)


def test_missing_and_unseen_categories_cost_and_do_not_fail():
    real, held_out = drawn(60, 0), drawn(40, 1)
    fake = drawn(60, 2)
    lacking = fake.having(np.where(fake.values == 2, 1, fake.values))  # no "w"
    columns = (*real.columns[:2], Column("kind", ("u", "v", "w", "new")), CLASS)
    unseen = Table(columns=columns, values=fake.values + np.array([0, 0, 1, 0]), target=3)
    whole = tabsyndex(real, fake, holdout=held_out)
    for table in (lacking, unseen):
        parts = tabsyndex(real, table, holdout=held_out)
        assert parts.support < whole.support - 0.05 and parts.basic < whole.basic - 0.03
    assert tabsyndex(real, unseen, holdout=held_out).pmse < whole.pmse / 2  # a third of the rows give themselves away
    with pytest.raises(DataError, match=r"has no value|needs the same categories"):
        tabsyndex(real, lacking, compat=True)


def test_support_by_hand():
    # Categories: shares 1/2, 1/4, 1/4 and 3/4, 1/4, 0: (1 + 1 + 0) / 3, nothing outside. Numbers as they are.
    kinds = Column("kind", ("u", "v", "w"))
    real = Table(columns=(kinds, X), values=np.array([[0, 1], [0, 2], [1, 3], [2, 4.0]]), target=0)
    fake = Table(columns=(kinds, X), values=np.array([[0, 1], [0, 2], [0, 3], [1, 9.0]]), target=0)
    # x: four bins held, three covered, one of four rows outside: 3/4 * 3/4.
    assert mended.support(real, fake) == pytest.approx((2 / 3 + 9 / 16) / 2)
    assert published(real, real.having(real.values))["support"] == 1.0


def test_levels_are_numbered_alike_whichever_comes_first():
    real, held_out = drawn(60, 0), drawn(40, 1)
    order = np.argsort(real.values[:, 3] == real.values[0, 3], kind="stable")  # the other class comes first
    assert published(real, real.take(order))["ml"] < 0.6  # the same rows in another order
    assert tabsyndex(real, real.take(order), holdout=held_out).ml > 0.9


def test_rows_that_teach_nothing_have_no_efficacy():
    real, held_out = drawn(120, 0), drawn(60, 1)
    values = real.values.copy()
    values[:, 3] = np.random.default_rng(3).permutation(values[:, 3])
    assert mended.ml(real, drawn(120, 2), held_out, 0) > 0.9
    assert mended.ml(real, real.having(values), held_out, 0) < 0.75
    one = real.having(values * [1, 1, 1, 0])
    assert 0 < mended.ml(real, one, held_out, 0) < 0.75  # a single class is an answer too


def test_associations_by_hand():
    assert pearson(np.array([1, 2, 3.0]), np.array([2, 4, 6.0])) == pytest.approx(1)
    assert pearson(np.array([1, 1, 1.0]), np.array([2, 4, 6.0])) == 0.0
    assert correlation_ratio(np.array([0, 0, 1, 1.0]), np.array([1, 1, 3, 3.0])) == 1.0
    # H(x) = ln 2; y tells x in half of the rows: U = 1/2 where the rest is even.
    x, y = np.array([0, 1, 0, 1.0]), np.array([0, 1, 2, 2.0])
    assert theils_u(x, y) == pytest.approx(0.5)
    assert theils_u(y, x) == pytest.approx(0.5 * math.log(2) / (1.5 * math.log(2)))


BAD = {
    "blank": (lambda: (NUMBERS[0].having(np.where(NUMBERS[0].values == 6, np.nan, NUMBERS[0].values)), NUMBERS[1])),
    "class": (lambda: (MIXED[0], MIXED[1].having(MIXED[1].values * [1, 1, 0]))),
}


@pytest.mark.parametrize("name", BAD)
def test_what_the_published_arithmetic_has_no_value_for(name):
    with pytest.raises(DataError, match="as published") as caught:
        published(*BAD[name]())
    assert "\n" not in str(caught.value)


def test_held_out_rows_are_needed():
    with pytest.raises(DataError, match="holdout = None"):
        tabsyndex(*NUMBERS)
