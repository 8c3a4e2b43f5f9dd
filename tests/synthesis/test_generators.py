"""Generators: what each keeps of a table, that the seed decides all, and that rows are judged by where they lie."""

from __future__ import annotations

import numpy as np
import pytest

from genunlearn.data.tables import Column, Table
from genunlearn.registry import GENERATORS
from genunlearn.synthesis.associations import pearson
from genunlearn.synthesis.gaps import FilledTable
from genunlearn.synthesis.privacy import Distances, closeness, distances, nearest
from genunlearn.synthesis.quality import is_installed, quality
from genunlearn.synthesis.scores import NormalScores

QUICK = {"vae": {"epochs": 30}}
NAMES = [name for name in GENERATORS.names("network") if name != "given"]


def made(name: str, **own):
    return GENERATORS.get(name, "network")(**QUICK.get(name, {}), **own)


@pytest.fixture(scope="module")
def table() -> Table:
    """Two numbers that hang together, one of them with blanks, and a class of three levels, of which one is rare."""
    generator = np.random.default_rng(0)
    a = generator.standard_normal(150)
    b = np.exp(a + 0.5 * generator.standard_normal(150))
    b[:15] = np.nan
    label = np.digitize(a, [0, 1.8]).astype(float)
    columns = (Column("a"), Column("b"), Column("class", ("n", "p", "q")))
    return Table(columns=columns, values=np.stack([a, b, label], 1), target=2)


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_of_the_same_kind_and_the_seed_decides_them(name, table):
    drawn = made(name).draw(table, 70, 1)
    assert drawn.columns == table.columns and drawn.values.shape == (70, 3)
    again, other = made(name).draw(table, 70, 1), made(name).draw(table, 70, 2)
    np.testing.assert_array_equal(drawn.values, again.values)
    assert not np.array_equal(drawn.values, other.values, equal_nan=True)
    known = drawn.values[~np.isnan(drawn.values[:, 1]), 1]
    assert known.min() >= np.nanmin(table.values[:, 1]) and known.max() <= np.nanmax(table.values[:, 1])
    assert 0 < np.isnan(drawn.values[:, 1]).sum() < 35  # a tenth is blank
    assert set(drawn.values[:, 2]) <= {0, 1, 2}
    assert not np.isnan(drawn.values[:, [0, 2]]).any()


def test_what_hangs_together_and_what_does_not(table):
    rank = {name: _spearman(made(name).draw(table, 400, 0)) for name in ("bootstrap", "independent", "gaussian_copula")}
    truth = _spearman(table)
    assert rank["bootstrap"] == pytest.approx(truth, abs=0.1) and rank["gaussian_copula"] == pytest.approx(
        truth, abs=0.1
    )
    assert abs(rank["independent"]) < 0.15 < truth


def _spearman(table: Table) -> float:
    known = table.values[~np.isnan(table.values).any(1)]
    ranks = known[:, :2].argsort(0).argsort(0).astype(float)
    return pearson(ranks[:, 0], ranks[:, 1])


@pytest.mark.parametrize("name", NAMES)
def test_a_constant_column_and_few_rows(name):
    values = np.column_stack([np.full(8, 3.0), np.arange(8.0), np.arange(8) % 2])
    columns = (Column("c"), Column("x"), Column("class", ("n", "p")))
    drawn = made(name).draw(Table(columns=columns, values=values, target=2), 30, 0)
    assert (drawn.values[:, 0] == 3).all() and np.isfinite(drawn.values).all()


def test_scores_go_back_to_values(table):
    filled = FilledTable(table)
    scores = NormalScores(filled.table)
    back = filled.back(scores.back(scores(0))).values
    np.testing.assert_array_equal(np.isnan(back), np.isnan(table.values))
    np.testing.assert_array_equal(back[:, 2], table.values[:, 2])
    assert pearson(back[:, 0], table.values[:, 0]) > 0.99


def test_a_blank_is_filled_from_the_nearest_row():
    columns = (Column("x"), Column("y"))
    real = Table(columns=columns, values=np.array([[0, 5], [1, 7], [1.1, np.nan], [9, 6.0]]), target=0)
    filled = FilledTable(real)
    np.testing.assert_allclose(filled.table.values[2], [1.1, 7, 1])
    np.testing.assert_array_equal(filled.back(filled.table.values).values, real.values)


# ---- forgotten rows ---------------------------------------------------------------------------------------------


def test_distances_by_hand():
    columns = (Column("x"), Column("kind", ("a", "b")))
    real = Table(columns=columns, values=np.array([[0, 0], [2, 1.0]] * 2), target=1)  # the spread of x is 1
    rows = Table(columns=columns, values=np.array([[0, 0], [0.5, 0], [0, 1], [9, 1.0]]), target=1)
    among = Table(columns=columns, values=np.array([[0, 0.0]]), target=1)
    # the same, half a spread of two columns, another category, both at most 1
    np.testing.assert_allclose(nearest(rows, among, real), [0, 0.25, 0.5, 1])


def test_blanks_are_near_each_other_alone():
    columns = (Column("x"), Column("y"))
    real = Table(columns=columns, values=np.array([[0, 0], [2, 2], [np.nan, 1.0]]), target=1)
    rows = Table(columns=columns, values=np.array([[np.nan, 1.0], [0, 1.0]]), target=1)
    among = Table(columns=columns, values=np.array([[np.nan, 1.0]]), target=1)
    np.testing.assert_allclose(nearest(rows, among, real), [0, 0.5])


def test_closeness_by_hand():
    # Of six pairs the forgotten row is nearer in three, and as near in one: 3.5 / 6.
    value, low, high = closeness(Distances(forgotten=np.array([0.0, 2.0]), held_out=np.array([1.0, 2.0, 1.5])))
    assert value == pytest.approx(3.5 / 6) and low < value < high
    every = closeness(Distances(forgotten=np.zeros(20), held_out=np.ones(20)))
    assert every[0] == every[2] == 1.0 and 0.85 < every[1] < 0.9  # all are nearer, and 20 rows are not all rows


@pytest.mark.parametrize("held_out", [1, 10, 400])
def test_one_forgotten_row_is_no_verdict_however_many_are_held_out(held_out):
    value, low, high = closeness(Distances(forgotten=np.zeros(1), held_out=np.ones(held_out)))
    assert value == high == 1.0 and low < 0.45


def test_copies_are_seen_and_rows_learnt_anew_are_not():
    generator = np.random.default_rng(5)
    columns = (Column("x"), Column("y"), Column("z"))
    rows = Table(columns=columns, values=generator.standard_normal((400, 3)), target=2)
    forgotten, retained, held_out = (rows.take(part) for part in np.split(np.arange(400), [80, 280]))
    learnt = rows.take(np.arange(280))
    copies = made("bootstrap").draw(learnt, 280, 0)
    found = distances(copies, forgotten, held_out, learnt)
    assert closeness(found)[1] > 0.65 and 0.4 < (found.forgotten == 0).mean() < 0.8  # 1 - 1/e of the rows are drawn
    anew = distances(made("bootstrap").draw(retained, 280, 0), forgotten, held_out, learnt)
    _, low, high = closeness(anew)
    assert low < 0.5 < high and not (anew.forgotten == 0).any()


@pytest.mark.skipif(not is_installed(), reason="needs the extra tables")
def test_the_score_of_another_library_agrees_on_the_ends(table):
    found = quality(table, table)
    assert found == {"quality": 1.0, "column_shapes": 1.0, "column_pairs": 1.0}
    assert quality(table, made("independent").draw(table, 150, 0))["column_pairs"] < 0.9
