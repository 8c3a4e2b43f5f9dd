"""The game: what is trained, counted and read back; learners and benchmarks; bad input."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC
from torch import nn

import genunlearn
from genunlearn.engine.journal import FileJournal
from genunlearn.errors import ConfigError, DataError, NameNotFound
from genunlearn.valuation.benchmark import (
    corrupt_inputs,
    curve,
    f1,
    flip_labels,
    lower_cluster,
    lowest,
    ranking,
    spread_over_kinds,
)
from genunlearn.valuation.estimators import EstimatorLearner, estimator
from genunlearn.valuation.game import Game, item_scores
from tests.valuation.conftest import Given


class Counting(EstimatorLearner):
    """An estimator that counts how often it is really trained."""

    trained = 0

    def answer(self, rows, asked, **options):
        """One more."""
        self.trained += 1
        return super().answer(rows, asked, **options)


def test_trainings_are_counted_and_not_repeated(two_clouds, tmp_path):
    first = Counting(estimator("neighbour", is_regression=False), *two_clouds)
    game = Game(first, FileJournal(tmp_path))
    found = [game([1, 2, 8]), game([8, 1, 2]), game([])]
    assert found == [found[0], found[0], 0.5]
    assert (first.trained, game.trainings) == (1, 1)
    again = Counting(estimator("neighbour", is_regression=False), *two_clouds)
    resumed = Game(again, FileJournal(tmp_path))
    assert resumed([1, 2, 8]) == found[0]
    assert (again.trained, resumed.trainings) == (0, 1)  # read back, and still counted


def test_scores_of_answers():
    answers, targets = np.array([[0.7, 0.3], [0.6, 0.4]]), np.array([0, 1])
    assert item_scores(answers, targets, targets, "accuracy").tolist() == [1, 0]
    assert item_scores(answers, targets, targets, "probability").tolist() == [0.7, 0.4]
    # the targets 0, 2, 4 lie 4/3 from their median: 1 - 1 / (4/3), 1 - 0, and no less than -1
    known = np.array([0.0, 2.0, 4.0])
    assert item_scores(np.array([1.0, 2.0, 40.0]), known, known, None) == pytest.approx([0.25, 1, -1])


def test_a_class_that_a_subset_lacks_is_never_answered(two_clouds):
    learner = EstimatorLearner(estimator("linear", is_regression=False), *two_clouds)
    answers = learner.answer(np.array([1, 2]), np.array([0]))[0]
    assert answers.shape == (8, 2) and (answers == [1, 0]).all()


def test_an_estimator_without_probabilities(two_clouds):
    found = genunlearn.value(LinearSVC(), *two_clouds, method={"name": "leave_one_out"})
    assert found.values.argmin() == 0


def test_networks_are_taught_anew(two_clouds):
    (points, targets), (others, truth) = two_clouds
    network = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
    before = [weight.detach().clone() for weight in network.parameters()]
    found = genunlearn.value(network, (points, targets), (others, truth), method={"name": "ecoval_style", "folds": 3})
    assert found.values.argmin() == 0
    assert all((a == b).all() for a, b in zip(before, network.parameters(), strict=True))


# ---- benchmarks -------------------------------------------------------------------------------------------------


def test_what_is_made_bad_is_known():
    targets, inputs = np.arange(20) % 3, np.random.default_rng(0).normal(size=(20, 2))
    flipped, is_bad = flip_labels(targets, 0.25, seed=1)
    assert is_bad.sum() == 5 and ((flipped != targets) == is_bad).all()
    noise, is_bad = corrupt_inputs(inputs, 0.25, seed=1)
    assert ((noise != inputs).any(1) == is_bad).all()


def test_what_is_found():
    values = np.array([0.9, 0.1, 1.0, 0.2, 1.1])
    assert lowest(values, 2).tolist() == lower_cluster(values).tolist() == [False, True, False, True, False]
    # one of two found, one of two right: precision 1/2, recall 1/2
    assert f1(np.array([True, True, False]), np.array([True, False, True])) == 0.5
    assert f1(np.array([False]), np.array([False])) == 0


def test_curves_remove_and_add():
    game, values = Given(4, len), np.array([3.0, 1.0, 2.0, 0.0])
    assert ranking(values, "high_first").tolist() == [0, 2, 1, 3]
    assert curve(game, values, np.array([0.0, 0.5]), "high_first").tolist() == [4, 2]
    assert curve(game, values, np.array([0.25, 0.5]), "low_first", adds=True).tolist() == [1, 2]


def test_a_small_set_leaves_no_kind_out():
    values, kinds = np.array([5.0, 4.0, 3.0, 2.0, 1.0]), np.array([0, 0, 0, 1, 1])
    assert spread_over_kinds(values, kinds).tolist() == [0, 3, 1, 4, 2]


# ---- bad input --------------------------------------------------------------------------------------------------

X, Y = np.arange(8.0).reshape(4, 2), np.array([0, 1, 0, 1])
BAD = {
    "no estimator": ({"learner": "forest"}, DataError, "learner = str: give a scikit-learn estimator"),
    "a class": ({"learner": LinearSVC}, DataError, "learner = the class LinearSVC: give a scikit-learn estimator"),
    "no pair": ({"train": X, "valid": X}, DataError, r"train holds 4 parts: give \(inputs, targets\)"),
    "text": ({"train": ([["a", 1]] * 4, Y)}, DataError, "train is no table of numbers"),
    "ragged": ({"train": ([[1, 2], [3]] * 2, Y)}, DataError, "train is no table of numbers"),
    "types": ({"train": (X, np.array([None, "a"] * 2))}, DataError, r"several types \(NoneType, int, str\)"),
    "text to predict": ({"learner": Ridge(), "train": (X, ["a"] * 4)}, DataError, "train is no table of numbers"),
    "too small": ({"learner": KNeighborsClassifier(5)}, DataError, "KNeighborsClassifier cannot learn from 4 of the"),
    "score": ({"score": "f1"}, DataError, "score = 'f1': take one of accuracy, probability"),
    "flat players": ({"players": [0, 1]}, DataError, r"players = \[0, 1\]: give a list of row numbers for each"),
    "halves": ({"players": [[0.5]]}, DataError, "give a list of row numbers for each"),
    "columns": ({"valid": (X[:, :1], Y)}, DataError, "2 columns and valid 1"),
    "lengths": ({"train": (X, Y[:3])}, DataError, "give one target an item"),
    "nan": ({"train": (X * np.nan, Y)}, DataError, "train holds NaN or infinity"),
    "one class": ({"train": (X, Y * 0), "valid": (X, Y * 0)}, DataError, "a classifier needs two"),
    "new class": ({"valid": (X, Y + 1)}, DataError, "class 2 is in valid and not in train"),
    "method": ({"method": "shapely"}, NameNotFound, "unknown valuation 'shapely'"),
    "field": ({"method": {"name": "tmc_shapley", "order": 3}}, ConfigError, "did you mean 'orders'"),
    "bound": ({"method": {"name": "tmc_shapley", "orders": 0}}, ConfigError, "orders = 0"),
    "players": ({"players": [[0, 1], [1]]}, DataError, "share a row"),
    "outside": ({"players": [[0, 9]]}, DataError, "from 0 to 3"),
    "empty player": ({"players": [[0], []]}, DataError, "from 0 to 3"),
}


@pytest.mark.parametrize(("given", "error", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_refused_in_one_line(given, error, message):
    learner = estimator("linear", is_regression=False)
    arguments = {"learner": learner, "train": (X, Y), "valid": (X, Y), **given}
    with pytest.raises(error, match=message) as caught:
        genunlearn.value(arguments.pop("learner"), arguments.pop("train"), arguments.pop("valid"), **arguments)
    assert "\n" not in str(caught.value)
