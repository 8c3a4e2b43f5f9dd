"""Retraining: the oracle. Weights drawn anew and taught the retain set alone.

    theta = train(theta_new, R)

What every other method is compared with: it never saw the forget set. Papers on recommenders call it Gold.

Source: the exact solution that Cao and Yang, "Towards Making Systems Forget with Machine Unlearning" (IEEE S&P 2015),
set out to reach faster.
Deviations: none. Give the loop as many steps as the original had.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT, Domain, Journal, Needs, Outcome, Protocol, Splits, Train, with_sides
from genunlearn.methods.general.supervised import Supervised


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Retrain(Protocol[Domain]):
    """Training from scratch on the retain set."""

    name: ClassVar[str] = "retrain"
    asks: ClassVar[frozenset[str]] = frozenset({"example_loss", "reinitialise"})
    trains_on: ClassVar[Literal["examples", "request"]] = "examples"
    needs: ClassVar[Needs] = Needs(retain=True, forget=False)
    path: ClassVar[Literal["bounded", "unbounded", "anew"]] = "anew"
    paper: ClassVar[str] = "Cao and Yang, IEEE S&P 2015"
    equation: ClassVar[str] = "CE(R) from fresh weights"

    init_seed: Annotated[int, Field(ge=0, description="seed of the fresh weights")] = 0

    def run(self, train: Train, model: Any, splits: Splits, journal: Journal) -> Outcome:
        """Draw the weights anew and train."""
        model.reinitialise(self.init_seed)
        train(Supervised(), with_sides(splits, (), splits.retain))
        return Outcome(status="trained", reason=f"retrained from the weights of seed {self.init_seed}")
