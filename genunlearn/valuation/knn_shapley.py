"""KNN-Shapley: the exact Shapley value where the learner is K nearest neighbours; nothing is trained.

For one validation item with the training items sorted from near to far, n of them:

    s_n = 1[y_n = y] min(K, n) / (n K)
    s_i = s_{i+1} + (1[y_i = y] - 1[y_{i+1} = y]) / K * min(K, i) / i

and a value is the mean of s over the validation items. The game's score is the share of the K nearest that have the
right class, so values are not in units of the learner's accuracy; they sum to the score of all items.

Source: Jia et al., "Efficient Task-Specific Data Valuation for Nearest Neighbor Algorithms" (VLDB 2019), theorem 1.
Deviations: the first line holds for K above n as well.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT
from genunlearn.valuation.base import Valuer, Values
from genunlearn.valuation.game import Floats, Game


@dataclass(config=STRICT, frozen=True, kw_only=True)
class KNNShapley(Valuer):
    """Exact Shapley value for K nearest neighbours on the learner's embedding."""

    name: ClassVar[str] = "knn_shapley"
    paper: ClassVar[str] = "Jia et al., VLDB 2019"
    equation: ClassVar[str] = "s_i = s_{i+1} + (1[y_i = y] - 1[y_{i+1} = y]) min(K, i) / (K i)"
    needs_classes: ClassVar[bool] = True

    neighbours: Annotated[int, Field(ge=1, description="K")] = 5

    def value(self, game: Game) -> Values:
        """No training; time grows as training items times validation items."""
        learner = game.learner
        train, valid = learner.embed()
        total = np.zeros(len(train))
        with game.bar("nearest neighbours", len(valid)) as advance:
            for point, target in zip(valid, learner.valid_targets, strict=True):
                order = np.argsort(((train - point) ** 2).sum(1), kind="stable")
                total[order] += one_point(learner.targets[order] == target, self.neighbours)
                advance()
        return Values(values=game.gather(total / len(valid)))


def one_point(is_right: np.ndarray, neighbours: int) -> Floats:
    """Values for one validation item.

    Args:
        is_right: Whether each training item has its class, from near to far, ``(n,)``.
        neighbours: K.
    """
    right, count = is_right.astype(np.float64), len(is_right)
    place = np.arange(1, count)
    steps = (right[:-1] - right[1:]) / neighbours * np.minimum(neighbours, place) / place
    last = right[-1] * min(neighbours, count) / (count * neighbours)
    return np.append(last + steps[::-1].cumsum()[::-1], last)
