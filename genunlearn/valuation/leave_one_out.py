"""Leave-one-out: what is lost when one player goes and all others stay.

    v_i = U(D) - U(D without i)

Source: Cook, "Detection of Influential Observation in Linear Regression" (Technometrics 1977).
Deviations: none. The players' values do not sum to what they earn together.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT
from genunlearn.valuation.base import Valuer, Values
from genunlearn.valuation.game import Game


@dataclass(config=STRICT, frozen=True, kw_only=True)
class LeaveOneOut(Valuer):
    """What is lost when one player goes: one training a player."""

    name: ClassVar[str] = "leave_one_out"
    paper: ClassVar[str] = "Cook, Technometrics 1977"
    equation: ClassVar[str] = "v_i = U(D) - U(D without i)"

    def value(self, game: Game) -> Values:
        """One training for all, and one without each player."""
        everyone, found = game.everyone, []
        whole = game(everyone)
        with game.bar("leave one out", len(game)) as advance:
            for player in everyone:
                found.append(whole - game(np.delete(everyone, player)))
                advance()
        return Values(values=np.array(found))
