"""Every valuation formula against values worked out by hand, and what must hold of all of them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes

from genunlearn.errors import NeedNotMet
from genunlearn.ops.transport import sinkhorn
from genunlearn.registry import VALUATIONS
from genunlearn.valuation.banzhaf import from_coalitions
from genunlearn.valuation.beta_shapley import BetaShapley
from genunlearn.valuation.data_oob import DataOOB
from genunlearn.valuation.ecoval_style import EcoValStyle, clusters_of, fit_power, near_duplicates, shares_of
from genunlearn.valuation.knn_shapley import KNNShapley, one_point
from genunlearn.valuation.lava import LAVA, calibrated
from genunlearn.valuation.leave_one_out import LeaveOneOut
from genunlearn.valuation.permutations import marginals
from genunlearn.valuation.tmc_shapley import TMCShapley
from tests.valuation.conftest import Given, game_of

METHODS = VALUATIONS.names("network")


def shapley(game, count: int) -> np.ndarray:
    """The exact Shapley value: the mean over every order."""
    orders = list(itertools.permutations(range(count)))
    total = np.zeros(count)
    for order, added in zip(orders, marginals(game, orders), strict=True):
        total[list(order)] += added
    return total / len(orders)


# ---- golden values ----------------------------------------------------------------------------------------------


def test_shapley_of_the_gloves(gloves):
    # Player 0 completes a pair unless it comes first, in 4 of 6 orders; 1 completes one in the order 0, 1, 2 alone.
    assert shapley(gloves, 3) == pytest.approx([4 / 6, 1 / 6, 1 / 6])


def test_leave_one_out_of_the_gloves(gloves):
    # Without 0 the pair is lost; one right glove stands in for the other.
    assert LeaveOneOut().value(gloves).values.tolist() == [1, 0, 0]


def test_banzhaf_of_the_gloves(gloves):
    # 0 adds 1 to {1}, {2}, {1, 2} of four coalitions; 1 adds 1 to {0} alone of {}, {0}, {2}, {0, 2}.
    masks = np.array(list(itertools.product([False, True], repeat=3)))
    earned = np.array([gloves(mask.nonzero()[0]) for mask in masks])
    found = from_coalitions(masks, earned)
    assert found.values == pytest.approx([3 / 4, 1 / 4, 1 / 4])
    assert (found.low <= found.values).all() and (found.values <= found.high).all()


def test_beta_weights():
    # w_j = 3 C(2, j-1) B(j, 5-j) / B(2, 1), B(2, 1) = 1/2: 3 B(1, 4) 2 = 3/2, 6 B(2, 3) 2 = 1, 3 B(3, 2) 2 = 1/2
    assert BetaShapley(alpha=2, beta=1).weights(3) == pytest.approx([1.5, 1.0, 0.5])
    assert BetaShapley(alpha=1, beta=1).weights(40) == pytest.approx(np.ones(40))
    assert BetaShapley().weights(3000).mean() == pytest.approx(1)


@pytest.mark.parametrize(("count", "neighbours"), [(1, 1), (2, 3), (5, 1), (5, 2), (5, 7)])
def test_knn_shapley_equals_brute_force(count, neighbours):
    generator = np.random.default_rng(count)
    for _ in range(4):
        is_right = generator.random(count) < 0.5

        def earn(players: frozenset[int], is_right: np.ndarray = is_right) -> float:
            return sum(is_right[row] for row in sorted(players)[:neighbours]) / neighbours

        game = Given(count, earn)
        game.learner = type("Nobody", (), {"classes": 0})  # nobody earns 0
        assert one_point(is_right, neighbours) == pytest.approx(shapley(game, count))


def test_data_oob_tells_what_others_would_say(two_clouds):
    found = DataOOB(bags=20).value(game_of(*two_clouds)).values
    assert found[0] == 0  # all of its neighbours have the other class
    assert (found[6:] == 1).all()  # nobody near the other cloud has a wrong label
    assert 0 < found[1:6].mean() < 1  # item 0 tells some of its neighbours wrong, from bags that hold it


def test_transport_of_two_pairs():
    # 0 -> 0.25 and 1 -> 0.75 is the cheapest: the mean of 0.25 and 0.25.
    cost = (torch.tensor([0.0, 1.0])[:, None] - torch.tensor([0.25, 0.75])[None]).abs().double()
    distance, f, g = sinkhorn(cost, 0.01)
    assert float(distance) == pytest.approx(0.25, abs=1e-6)
    assert float(f.mean() + g.mean()) == pytest.approx(0.25, abs=0.02)  # the dual, less the entropy


def test_calibrated_gradients():
    # each less the mean of the other two: 1 - 4, 2 - 3.5, 6 - 1.5
    assert calibrated(np.array([1.0, 2.0, 6.0])).tolist() == [-3.0, -1.5, 4.5]
    assert calibrated(np.array([5.0])).tolist() == [0.0]


def test_lava_ranks_the_wrong_label_last(two_clouds):
    assert LAVA().value(game_of(*two_clouds)).values.argmin() == 0


# ---- EcoVal-style -----------------------------------------------------------------------------------------------


def test_a_power_law_is_found_again():
    quantity = np.array([1.0, 4.0, 9.0, 16.0])
    size, elasticity = fit_power(quantity, 2 * quantity**0.5)
    assert (size, elasticity) == (pytest.approx(2), pytest.approx(0.5))
    assert fit_power(quantity, -quantity)[0] == 0  # data that only harm earn nothing


def test_good_goes_to_the_best_and_harm_to_the_worst():
    quality, cluster = np.array([0.6, 0.2, 0.6, 0.2]), np.array([0, 0, 1, 1])
    # of the good cluster 0.6 / 0.8 and 0.2 / 0.8, of the harmful one 0.4 / 1.2 and 0.8 / 1.2
    found = shares_of(quality, cluster, np.array([0.1, -0.1]))
    assert found == pytest.approx([3 / 4, 1 / 4, 1 / 3, 2 / 3])


def test_members_sum_to_their_cluster(two_clouds):
    game = game_of(*two_clouds, score="accuracy")
    found = EcoValStyle(clusters=4).value(game)
    cluster, quality = found.groups["cluster"], found.parts["quality"]
    e, size = found.notes["elasticity"], found.notes["size"]
    everything, total = np.arange(12), quality.sum()
    for number in range(int(found.notes["clusters"])):
        lost = game.earn(everything) - game.earn(everything[cluster != number])
        intrinsic = (1 - e) * size * total**e * quality[cluster == number].sum() / total
        assert found.values[cluster == number].sum() == pytest.approx(e * lost + intrinsic)
    assert found.values.argmin() == 0  # the wrong label


def test_a_copy_takes_half_of_a_value(two_clouds):
    (points, targets), valid = two_clouds
    before = EcoValStyle(clusters=4).value(game_of((points, targets), valid)).values
    copied = (np.concatenate([points, points[4:5]]), np.append(targets, targets[4]))
    # the scale of a column moves with a copy, by less than a near duplicate is allowed to
    after = EcoValStyle(clusters=4).value(game_of(copied, valid)).values
    assert after[4] == after[12]
    assert 0 < after[4] <= before[4] / 2 + 1e-9


def test_near_duplicates_have_one_target():
    points, targets = np.array([[0.0], [0.001], [0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 0, 0, 0])
    assert near_duplicates(points, targets, 0.05).tolist() == [0, 0, 2, 3, 4, 5]
    assert near_duplicates(points[:1], targets[:1], 0.05).tolist() == [0]


def test_clusters_lie_within_a_kind():
    points, kinds = np.random.default_rng(0).normal(size=(30, 2)), np.repeat([0, 1], [20, 10])
    found = clusters_of(points, kinds, 6)
    assert not set(found[kinds == 0]) & set(found[kinds == 1])
    assert sorted(set(found.tolist())) == list(range(6))


# ---- what must hold ---------------------------------------------------------------------------------------------


def test_shapley_values_sum_to_what_all_earn(two_clouds):
    game = game_of(*two_clouds, score="accuracy")
    values = TMCShapley(orders=3, tolerance=0).value(game).values
    assert values.sum() == pytest.approx(game(game.everyone) - 1 / 2)
    knn = KNNShapley(neighbours=1).value(game).values
    assert knn.sum() == pytest.approx(game(game.everyone))  # the learner is the nearest neighbour


def test_an_order_is_cut_when_little_is_left(gloves):
    gloves.learner = type("Nobody", (), {"classes": 0})
    whole = list(marginals(gloves, [(0, 1, 2)]))
    trained = gloves.trainings
    cut = list(marginals(gloves, [(0, 1, 2)], tolerance=0.01))
    assert whole[0].tolist() == cut[0].tolist() == [0, 1, 0]
    assert gloves.trainings - trained == trained - 1


def test_a_copy_leaves_at_least_half_of_a_shapley_value():
    # Each item covers some facts; what a coalition covers is submodular, so that copies come earlier and earn more.
    covers = [{1, 2}, {2, 3, 4}, {4}, {1, 2}]

    def earn(players: frozenset[int]) -> float:
        return float(len(set().union(*(covers[row] for row in players))))

    games = {count: Given(count, earn) for count in (3, 4)}
    for game in games.values():
        game.learner = type("Nobody", (), {"classes": 0})
    before, after = shapley(games[3], 3), shapley(games[4], 4)
    assert after[0] == pytest.approx(after[3])
    assert before[0] / 2 <= after[0] < before[0]


def test_twins_are_worth_the_same():
    train = (np.array([[0.0], [0.0], [1.0], [2.0]]), np.array([0, 0, 1, 1]))
    valid = (np.array([[0.1], [1.9]]), np.array([0, 1]))
    for method in (LeaveOneOut(), KNNShapley(neighbours=2), LAVA(), EcoValStyle(clusters=2, folds=3)):
        first, second, *_ = method.value(game_of(train, valid, name="linear")).values
        assert first == pytest.approx(second), method.name
    exact = shapley(game_of(train, valid), 4)
    assert exact[0] == pytest.approx(exact[1])


@pytest.mark.parametrize("name", METHODS)
def test_every_method_values_items_and_groups(name, two_clouds):
    method = VALUATIONS.get(name, "network")()
    small = {"orders": 2, "draws": 8, "bags": 4}
    fields = {key: value for key, value in small.items() if hasattr(method, key)}
    method = type(method)(**fields)
    whole, groups = game_of(*two_clouds), [np.arange(6), np.arange(6, 12)]
    assert np.isfinite(method.value(whole).values).all() and len(method.value(whole).values) == 12
    assert len(method.value(game_of(*two_clouds, players=groups)).values) == 2


@pytest.mark.parametrize("name", METHODS)
def test_regressors_are_valued_or_refused(name):
    data = load_diabetes()
    game = game_of((data.data[:30], data.target[:30]), (data.data[30:50], data.target[30:50]), regression=True)
    kind = VALUATIONS.get(name, "network")
    if kind.needs_classes:
        with pytest.raises(NeedNotMet, match=f"{name!r} needs classes"):
            kind().check(game.learner.classes)
        return
    fields = {key: 4 for key in ("orders", "draws", "bags") if hasattr(kind(), key)}
    kind().check(0)
    assert all(map(math.isfinite, kind(**fields).value(game).values))
