"""Data-OOB: how well an item is told by learners that were trained on bootstrap samples without it.

    v_i = mean over bags b with i not in b of T(y_i, f_b(x_i))

T is 1 for the right class; of a regressor the score of the game. Values are scores of an item, not shares of what all
earn: they rank items, and do not say what forgetting costs.

Source: Kwon and Zou, "Data-OOB: Out-of-bag Estimate as a Simple and Efficient Data Value" (ICML 2023), equation 3.
Deviations: none. An item that is in every bag has the mean value of the others.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT
from genunlearn.valuation.base import Valuer, Values
from genunlearn.valuation.game import Game


@dataclass(config=STRICT, frozen=True, kw_only=True)
class DataOOB(Valuer):
    """How often learners that did not see an item tell its target."""

    name: ClassVar[str] = "data_oob"
    paper: ClassVar[str] = "Kwon and Zou, ICML 2023"
    equation: ClassVar[str] = "v_i = mean_{b: i not in b} T(y_i, f_b(x_i))"
    is_utility: ClassVar[bool] = False

    bags: Annotated[int, Field(ge=2, description="bootstrap samples, a training each")] = 100
    seed: Annotated[int, Field(ge=0)] = 0

    def value(self, game: Game) -> Values:
        """One training a bag."""
        count = len(game.learner.targets)
        generator, told, asked = np.random.default_rng(self.seed), np.zeros(count), np.zeros(count)
        with game.bar("bags", self.bags) as advance:
            for _ in range(self.bags):
                bag = np.sort(generator.integers(0, count, count))
                outside = np.setdiff1d(np.arange(count), bag)
                told[outside] += game.unseen(bag, outside, "accuracy")
                asked[outside] += 1
                advance()
        values = told / np.maximum(asked, 1)
        values[asked == 0] = values[asked > 0].mean()
        return Values(values=game.gather(values))
