"""Data Banzhaf: what coalitions with a player earn less what those without it earn, each player in or out by a coin.

    v_i = E[ U(S) | i in S ] - E[ U(S) | i not in S ]

Every training serves every player ("maximum sample reuse").

Source: Wang and Jia, "Data Banzhaf: A Robust Data Valuation Framework for Machine Learning" (AISTATS 2023), equation 7.
Deviations: the interval is Welch's for the difference of two means. The values do not sum to U(D) - U(nobody).
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT
from genunlearn.valuation.base import Valuer, Values
from genunlearn.valuation.game import Floats, Game


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Banzhaf(Valuer):
    """Mean earning with a player less that without it, over coalitions drawn by coins."""

    name: ClassVar[str] = "banzhaf"
    paper: ClassVar[str] = "Wang and Jia, AISTATS 2023"
    equation: ClassVar[str] = "v_i = E[U(S) | i in S] - E[U(S) | i not in S]"

    draws: Annotated[int, Field(ge=4, description="coalitions, a training each")] = 500
    seed: Annotated[int, Field(ge=0)] = 0

    def value(self, game: Game) -> Values:
        """One training a coalition."""
        masks = np.random.default_rng(self.seed).random((self.draws, len(game))) < 0.5
        earned = np.zeros(len(masks))
        with game.bar("banzhaf", len(masks)) as advance:
            for place, mask in enumerate(masks):
                earned[place] = game(mask.nonzero()[0])
                advance()
        return from_coalitions(masks, earned)


def from_coalitions(masks: NDArray[np.bool_], earned: Floats) -> Values:
    """The difference of the means, with its 95% interval; 0 for a player who is always in or always out.

    Args:
        masks: ``(coalitions, players)``.
        earned: ``(coalitions,)``.
    """
    inside, outside = masks.sum(0), (~masks).sum(0)
    is_known = (inside > 0) & (outside > 0)
    n_in, n_out = np.maximum(inside, 1), np.maximum(outside, 1)
    mean_in, mean_out = earned @ masks / n_in, earned @ ~masks / n_out
    value = np.where(is_known, mean_in - mean_out, 0.0)
    spread_in = np.maximum(earned**2 @ masks / n_in - mean_in**2, 0) / n_in
    spread_out = np.maximum(earned**2 @ ~masks / n_out - mean_out**2, 0) / n_out
    half = 1.96 * np.sqrt(spread_in + spread_out)
    return Values(values=value, low=value - half, high=value + half)
