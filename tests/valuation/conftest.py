"""Games small enough to work out by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from genunlearn.engine.journal import FileJournal
from genunlearn.valuation.estimators import EstimatorLearner, estimator
from genunlearn.valuation.game import Game, Rows


class Given(Game):
    """A game whose earnings are a function of the players."""

    def __init__(self, count: int, earn: Callable[[frozenset[int]], float]) -> None:
        """`count` players."""
        self.players = [np.array([row]) for row in range(count)]
        self.base, self.trainings, self._given = np.zeros(0, dtype=np.int64), 0, earn
        self._journal = FileJournal(None)

    def earn(self, rows: Rows) -> float:
        """As given."""
        self.trainings += 1
        return float(self._given(frozenset(rows.tolist())))


@pytest.fixture
def gloves() -> Given:
    """Player 0 has a left glove, 1 and 2 a right one each; a pair earns 1."""
    return Given(3, lambda players: float(0 in players and bool(players & {1, 2})))


def game_of(train, valid, *, name: str = "neighbour", regression: bool = False, **options) -> Game:
    """A real learner on real items."""
    learner = EstimatorLearner(estimator(name, is_regression=regression), train, valid)
    return Game(learner, FileJournal(None), **options)


@pytest.fixture
def two_clouds() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Two classes far apart, 12 training and 8 validation items; training item 0 has the other class."""
    generator = np.random.default_rng(0)
    centres = np.repeat([[0.0, 0.0], [6.0, 6.0]], 10, axis=0)
    points, targets = centres + generator.normal(0, 0.5, (20, 2)), np.repeat([0, 1], 10)
    train = [*range(6), *range(10, 16)]
    rest = [*range(6, 10), *range(16, 20)]
    wrong = targets[train].copy()
    wrong[0] = 1
    return (points[train], wrong), (points[rest], targets[rest])
