"""TMC-Shapley: the mean of what a player adds to those before it, over random orders that are cut when little is left.

    phi_i = E_pi [ U(P_i U i) - U(P_i) ],   P_i: those before i in the order pi
    U(P_i U i) - U(P_i) := 0   once   |U(D) - U(P_i)| <= tolerance

With ``tolerance: 0`` nothing is cut, and in every order the values sum to U(D) - U(nobody).

Source: Ghorbani and Zou, "Data Shapley: Equitable Valuation of Data for Machine Learning" (ICML 2019), algorithm 1.
Deviations: the number of orders is fixed instead of grown until the values settle; the t-intervals over orders say how
far they have.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT
from genunlearn.valuation.base import Valuer, Values, mean_with_interval
from genunlearn.valuation.game import Game
from genunlearn.valuation.permutations import draw_orders, marginals


@dataclass(config=STRICT, frozen=True, kw_only=True)
class TMCShapley(Valuer):
    """Shapley value from random orders, each cut short when little is left to earn."""

    name: ClassVar[str] = "tmc_shapley"
    paper: ClassVar[str] = "Ghorbani and Zou, ICML 2019"
    equation: ClassVar[str] = "phi_i = E_pi [U(P_i U i) - U(P_i)]"

    orders: Annotated[int, Field(ge=1, description="random orders of the players")] = 50
    tolerance: Annotated[float, Field(ge=0, description="what is left to earn when an order is cut; 0 never cuts")] = (
        0.01
    )
    seed: Annotated[int, Field(ge=0)] = 0

    def weights(self, count: int) -> np.ndarray:
        """How much counts what the first, second, ... of `count` adds; the mean is 1."""
        return np.ones(count)

    def value(self, game: Game) -> Values:
        """At most one training a player and order."""
        orders = draw_orders(len(game), self.orders, self.seed)
        draws, weights = np.zeros((len(orders), len(game))), self.weights(len(game))
        with game.bar(self.name.replace("_", " "), len(orders)) as advance:
            for place, added in enumerate(marginals(game, orders, self.tolerance)):
                draws[place, orders[place]] = weights * added
                advance()
        return mean_with_interval(draws)
