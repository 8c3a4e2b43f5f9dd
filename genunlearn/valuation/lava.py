"""LAVA: how much an item pulls the training data away from the validation data; no learner is trained.

    OT(train, valid) with cost  C(i, j) = d(x_i, x_j) + c W(y_i, y_j)
    v_i = -( f_i - sum_{k != i} f_k / (n - 1) ),   f: the dual potential of the training items

W between two classes is the transport distance between their items, so that a label counts as far as what bears it;
between numbers it is their distance in units of the spread. Values are gradients of a distance: they rank items, and do
not say what forgetting costs.

Source: Just et al., "LAVA: Data Valuation without Pre-Specified Learning Algorithms" (ICLR 2023), equations 2 and 4.
Deviations: d is Euclidean on the learner's embedding; all distances are in units of the mean of d. The transport is
entropic (`genunlearn.ops.transport`), and the sign is turned, so that high is good as in the other methods.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import STRICT
from genunlearn.ops.transport import sinkhorn
from genunlearn.valuation.base import Valuer, Values
from genunlearn.valuation.game import Game, Learner


@dataclass(config=STRICT, frozen=True, kw_only=True)
class LAVA(Valuer):
    """Calibrated gradient of the transport distance between training and validation data."""

    name: ClassVar[str] = "lava"
    paper: ClassVar[str] = "Just et al., ICLR 2023"
    equation: ClassVar[str] = "v_i = -(f_i - sum_{k != i} f_k / (n - 1))"
    is_utility: ClassVar[bool] = False

    label_weight: Annotated[float, Field(ge=0, description="c: weight of the labels' distance")] = 1.0
    epsilon: Annotated[float, Field(gt=0, description="weight of the entropy, in units of the mean distance")] = 0.05

    def value(self, game: Game) -> Values:
        """No training."""
        train, valid = (torch.from_numpy(part).double() for part in game.learner.embed())
        cost = torch.cdist(train, valid)
        scale = float(cost.mean()) or 1.0
        with game.bar("transport", 1) as advance:
            labels = self._labels(game.learner, train / scale, valid / scale)
            _, potential, _ = sinkhorn(cost / scale + self.label_weight * labels, self.epsilon)
            advance()
        return Values(values=game.gather(-calibrated(potential.numpy())))

    def _labels(self, learner: Learner, train: Tensor, valid: Tensor) -> Tensor:
        """The distance between the labels of each pair of items, ``(train, valid)``."""
        own, other = torch.from_numpy(learner.targets), torch.from_numpy(learner.valid_targets)
        if not learner.classes:
            return (own[:, None] - other[None]).abs() / (float(own.double().std()) or 1.0)
        between = torch.zeros(learner.classes, learner.classes, dtype=train.dtype)
        for one in own.unique().tolist():
            for two in other.unique().tolist():
                cost = torch.cdist(train[own == one], valid[other == two])
                between[one, two] = sinkhorn(cost, self.epsilon)[0]
        return between[own][:, other]


def calibrated(potential: np.ndarray) -> np.ndarray:
    """Each potential less the mean of all others; 0 for a single item."""
    count = len(potential)
    return potential - (potential.sum() - potential) / max(count - 1, 1) if count > 1 else potential * 0
