"""Projected gradient ascent: the clients that go unlearn near the model of the others, who then teach a little more.

    w_ref = (K w - sum_F w_k) / (K - |F|),   w <- P(w + eta grad L_F(w))   into  ||w - w_ref||^2 <= radius

K clients, of which F go; w_k is what client k made of the last round, w their mean. The radius is the mean squared
distance of w_ref from ten networks with fresh weights, divided by three. Each client that goes climbs on its own items
and stops early once it is far from its own w_k; the mean of what they have is taught by the others for some rounds.

Source: Halimi, Kadhe, Rawat, Baracaldo, "Federated Unlearning: How to Efficiently Erase a Client in FL?" (arXiv
2207.05521), and the code that ConDa compares with. Settings there: learning rate 0.01, momentum 0.9, gradients clipped
at norm 5, five passes, stop at a squared distance of 2.2, one round afterwards.
Deviations: several clients may go, each climbing by itself. Where clients count by their items, w_ref takes their
shares in the mean, so that it is what the others have made of the last round. BatchNorm keeps its statistics. The
climbing is a client's own work and runs in this process; the rounds afterwards run on the federation's engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from genunlearn.contracts import STRICT, Journal, Needs, Outcome, Protocol, Splits, Train
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.domains.network.federated.adapter import FederatedClassifier, state_of, twin
from genunlearn.domains.network.federated.server import Server, State, average
from genunlearn.errors import NeedNotMet

FRESH = 10
"""Networks with fresh weights behind the radius."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class PGA(Protocol[FederatedClassifier]):
    """Projected gradient ascent, and rounds of the other clients."""

    name: ClassVar[str] = "pga"
    domains: ClassVar[frozenset[str]] = frozenset({"federated"})
    needs: ClassVar[Needs] = Needs(full_weights=True)
    paper: ClassVar[str] = "Halimi et al., arXiv 2207.05521"
    equation: ClassVar[str] = "w <- P(w + eta grad L_F(w)) into ||w - w_ref||^2 <= radius"

    learning_rate: Annotated[float, Field(gt=0, description="eta of the ascent")] = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1, description="of the ascent")] = 0.9
    epochs: Annotated[int, Field(ge=1, description="passes of the ascent over a client's items")] = 5
    batch_size: Annotated[int, Field(ge=1, description="items of a step of the ascent")] = 128
    max_norm: Annotated[float, Field(gt=0, description="gradients are clipped at this norm")] = 5.0
    radius_divisor: Annotated[float, Field(gt=0, description="the squared radius is the mean distance over this")] = 3.0
    stop_distance: Annotated[
        float | None, Field(gt=0, description="squared distance from the client's own model that ends the ascent")
    ] = 2.2
    rounds: Annotated[int, Field(ge=0, description="rounds of the other clients afterwards")] = 1
    seed: Annotated[int, Field(ge=0, description="of fresh weights and of the order of items")] = 0

    def run(self, train: Train, model: FederatedClassifier, splits: Splits, journal: Journal) -> Outcome:
        """Climb, then let the others teach.

        Raises:
            DataError: The items to be forgotten are not those of whole clients.
            NeedNotMet: The server has not kept the clients' last weights.
        """
        federation = model.federation
        history, going = federation.remembered(self.name), federation.going(splits.forget)
        staying = federation.staying(going)
        if missing := [client for client in federation.clients if client not in history.last]:
            raise NeedNotMet(
                f"method {self.name!r} needs every client's last weights, and those of client {missing[0]} were not "
                "kept: it never took part, or the server keeps none (keeps_last)"
            )
        weigh = (lambda client: 1) if federation.weighting == "equal" else (lambda c: len(federation.clients[c]))
        reference = average([history.last[client] for client in staying], [weigh(client) for client in staying])
        radius = self.radius(model, reference)
        climbed = [
            self._climb(model, federation.clients[client], reference, history.last[client], radius) for client in going
        ]
        model.network.load_state_dict(average([state for state, _ in climbed], [1] * len(climbed)))
        if self.rounds:
            plan = federation.plan(state_of(model), staying, rounds=self.rounds, seed=self.seed)
            federation.teach(model, plan, Server(plan.start, weighting=federation.weighting))
        model.module.eval()
        steps = [number for _, number in climbed]
        reason = (
            f"{sum(steps)} steps of ascent by {len(going)} of {len(federation.clients)} clients, then rounds of the"
        )
        details = {"squared_radius": radius, "ascent_steps": steps, "clients": list(going)}
        return Outcome(status="trained", reason=f"{reason} others: {self.rounds}", details=details)

    def radius(self, model: NetworkDomain, reference: State) -> float:
        """The squared radius: mean squared distance of `reference` from fresh weights, divided."""
        distances = [
            squared_distance(dict(model.fresh(self.seed * FRESH + k).network.named_parameters()), reference)
            for k in range(FRESH)
        ]
        return sum(distances) / FRESH / self.radius_divisor

    def _climb(
        self, model: NetworkDomain, items: Sequence[Any], reference: State, own: State, radius: float
    ) -> tuple[State, int]:
        """Where the ascent of a client ends, and after how many steps."""
        climber = twin(model)
        climber.learns_statistics = False
        climber.network.load_state_dict(reference)
        weights = dict(climber.network.named_parameters())
        optimizer = torch.optim.SGD(weights.values(), lr=self.learning_rate, momentum=self.momentum)
        everything, steps = list(items), 0
        generator = torch.Generator().manual_seed(self.seed)
        climber.module.train()
        for _ in range(self.epochs):
            for rows in torch.randperm(len(everything), generator=generator).split(self.batch_size):
                loss = -climber.example_loss(climber.collate([everything[row] for row in rows.tolist()])).mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(list(weights.values()), self.max_norm)
                optimizer.step()
                steps += 1
                project(weights, reference, radius)
                if self.stop_distance is not None and squared_distance(weights, own) > self.stop_distance:
                    return state_of(climber), steps
        return state_of(climber), steps


@torch.no_grad()
def project(weights: Mapping[str, Tensor], reference: State, radius: float) -> None:
    """Bring weights back into the ball around `reference` of this squared radius, in place."""
    if (distance := squared_distance(weights, reference)) > radius:
        share = (radius / distance) ** 0.5
        for name, weight in weights.items():
            weight.copy_(reference[name] + share * (weight - reference[name]))


@torch.no_grad()
def squared_distance(weights: Mapping[str, Tensor], reference: State) -> float:
    """Squared Euclidean distance over all weights that are named."""
    return float(sum((weight - reference[name]).double().square().sum() for name, weight in weights.items()))
