"""The game behind every valuation: players are items or groups of them, and a coalition earns what a learner scores.

    U(S) = mean over validation items of the score of a learner that was trained on S from scratch

``accuracy`` scores 1 for the right class, ``probability`` the probability of the right class; a regressor scores
``1 - |error| / spread``, at least -1, where the spread is the mean distance of the targets from their median. Nobody
earns what needs no data: 1 / classes, or 0. Each training goes through a journal under the hash of its rows, so that a
valuation that was killed repeats none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from genunlearn.contracts import Journal

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Score = Literal["accuracy", "probability"]

WORST = -1.0
"""Least score of an item of a regressor: one wild prediction must not outweigh all others."""


class Learner(Protocol):
    """What is trained again and again on parts of a data set.

    Attributes:
        targets: Of the training items: class numbers, or numbers to predict.
        valid_targets: Of the validation items, on which a training is scored.
        classes: How many there are; 0 for a regressor.
    """

    targets: NDArray[Any]
    valid_targets: NDArray[Any]
    classes: int

    def embed(self) -> tuple[Floats, Floats]:
        """Training and validation items as vectors, ``(items, d)``."""

    def answer(self, rows: Rows, asked: Rows, *, with_valid: bool = False) -> tuple[Floats, Floats]:
        """Train on `rows` from scratch; answers on the validation items, and on the training items `asked`.

        `with_valid` trains on the validation items as well. Answers are probabilities ``(items, classes)``, or
        predictions ``(items,)`` of a regressor.
        """


class Game:
    """Players, what their coalitions earn, and how many trainings it took to find out.

    Attributes:
        learner: What is trained.
        players: The rows of each player.
        base: Rows that every coalition has.
        trainings: How many trainings were asked for, whether done now or read back.
    """

    def __init__(
        self,
        learner: Learner,
        journal: Journal,
        *,
        players: Sequence[Rows] | None = None,
        base: Rows | None = None,
        score: Score = "accuracy",
    ) -> None:
        """Begin with no training; by default each item is a player."""
        self.learner, self.score, self.trainings = learner, score, 0
        count = len(learner.targets)
        self.players = list(players) if players is not None else [np.array([row]) for row in range(count)]
        self.base = np.zeros(0, dtype=np.int64) if base is None else base
        self._journal, self._asked = journal, set[str]()

    def __len__(self) -> int:
        return len(self.players)

    def __call__(self, players: Sequence[int] | Rows) -> float:
        """What a coalition earns."""
        return self.earn(self.rows_of(players))

    @property
    def everyone(self) -> Rows:
        """All players."""
        return np.arange(len(self))

    def rows_of(self, players: Sequence[int] | Rows) -> Rows:
        """The rows of a coalition, sorted."""
        own = [self.players[player] for player in players]
        return np.sort(np.concatenate([self.base, *own])).astype(np.int64)

    def gather(self, values: Floats) -> Floats:
        """What players are worth whose items have these values: the sums."""
        return np.array([values[rows].sum() for rows in self.players])

    def earn(self, rows: Rows) -> float:
        """What rows earn."""
        if not len(rows):
            return self.nothing
        done = self._train("earn", rows, lambda: float(self._score(self.learner.answer(rows, rows[:0])[0]).mean()))
        return float(done)

    def scores(self, rows: Rows) -> Floats:
        """The score of each validation item after training on `rows`, ``(valid,)``."""
        if not len(rows):
            return np.full(len(self.learner.valid_targets), self.nothing)
        done = self._train("scores", rows, lambda: self._score(self.learner.answer(rows, rows[:0])[0]).tolist())
        return np.array(done)

    def unseen(self, rows: Rows, asked: Rows, score: Score, *, with_valid: bool = False) -> Floats:
        """The score of training items `asked` after training on `rows`, which should not hold them; ``(asked,)``."""

        def compute() -> list[float]:
            answers = self.learner.answer(rows, asked, with_valid=with_valid)[1]
            return self._score(answers, self.learner.targets[asked], score).tolist()

        return np.array(self._train(f"unseen, {score}, {with_valid}", rows, compute))

    @property
    def nothing(self) -> float:
        """What needs no data: chance of a classifier, 0 of a regressor."""
        return 1 / self.learner.classes if self.learner.classes else 0.0

    def bar(self, title: str, total: int) -> AbstractContextManager[Any]:
        """A progress bar for whoever watches."""
        return self._journal.bar(title, total)

    def _score(self, answers: Floats, targets: NDArray[Any] | None = None, score: Score | None = None) -> Floats:
        known = self.learner.valid_targets
        kind = (score or self.score) if self.learner.classes else None
        return item_scores(answers, known if targets is None else targets, known, kind)

    def _train(self, what: str, rows: Rows, compute: Callable[[], Any]) -> Any:
        digest = hashlib.blake2b(rows.astype(np.int32).tobytes(), digest_size=12).hexdigest()
        key = f"{what} ({self.score}): {len(rows)} rows, {digest}"
        if key not in self._asked:
            self._asked.add(key)
            self.trainings += 1
        return self._journal.stage(key, compute)


def item_scores(answers: Floats, targets: NDArray[Any], known: NDArray[Any], score: Score | None) -> Floats:
    """The score of each answer, see the module; ``(items,)``.

    Args:
        answers: Probabilities ``(items, classes)``, or predictions ``(items,)``.
        targets: What is right, ``(items,)``.
        known: Targets whose spread is the unit of errors.
        score: Of a classifier; None for a regressor.
    """
    if score == "accuracy":
        return (answers.argmax(1) == targets).astype(np.float64)
    if score == "probability":
        return answers[np.arange(len(targets)), targets.astype(np.int64)].astype(np.float64)
    spread = float(np.abs(known - np.median(known)).mean()) or 1.0
    return np.maximum(1 - np.abs(answers - targets) / spread, WORST)
