"""Retraining a federation: weights drawn anew, and as many rounds as before without the clients that go.

    w <- mean over the clients that stay of what each makes of w,   from fresh weights, round after round

What every other method is compared with: the clients that go never took part.

Source: the exact solution; McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data"
(AISTATS 2017) for the rounds.
Deviations: none.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT, Journal, Needs, Outcome, Protocol, Splits, Train
from genunlearn.domains.network.federated.adapter import FederatedClassifier, state_of
from genunlearn.domains.network.federated.server import Server


@dataclass(config=STRICT, frozen=True, kw_only=True)
class FedRetrain(Protocol[FederatedClassifier]):
    """The federation from the start, without the clients that go."""

    name: ClassVar[str] = "fed_retrain"
    domains: ClassVar[frozenset[str]] = frozenset({"federated"})
    needs: ClassVar[Needs] = Needs(forget=False, full_weights=True)
    path: ClassVar[Literal["bounded", "unbounded", "anew"]] = "anew"
    paper: ClassVar[str] = "McMahan et al., AISTATS 2017"
    equation: ClassVar[str] = "rounds of the clients that stay, from fresh weights"

    rounds: Annotated[int | None, Field(ge=1, description="rounds; by default those of the original training")] = None
    seed: Annotated[int, Field(ge=0, description="of the fresh weights and of the order of items")] = 0

    def run(self, train: Train, model: FederatedClassifier, splits: Splits, journal: Journal) -> Outcome:
        """Draw the weights anew and let the clients that stay teach.

        Raises:
            DataError: The items to be forgotten are not those of whole clients.
        """
        federation = model.federation
        staying = federation.staying(federation.going(splits.forget))
        rounds = self.rounds or federation.rounds
        start = state_of(model.fresh(self.seed))
        plan = federation.plan(start, staying, rounds=rounds, seed=self.seed)
        federation.teach(model, plan, Server(start, weighting=federation.weighting))
        reason = f"{rounds} rounds of {len(staying)} of {len(federation.clients)} clients from the weights of seed"
        return Outcome(status="trained", reason=f"{reason} {self.seed}")
