"""FedEraser: go through kept rounds again without the clients that go, in new directions and steps of the old size.

    w <- w + ||U_t|| U'_t / ||U'_t||      for each kept round t and each tensor

U_t is the mean of what the clients that stay did to the weights in round t, U'_t the mean of what they do to w now, in
a few passes. The first kept round is taken as it was, since nobody who goes had a part in what it began with.

Source: Liu, Ma, Yang, Wang, Liu, "FedEraser: Enabling Efficient Client-Level Data Removal from Federated Learning
Models" (IWQoS 2021).
Deviations: buffers (BatchNorm's statistics) are the mean of those that the clients have now.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import STRICT, Journal, Needs, Outcome, Protocol, Splits, Train
from genunlearn.domains.network.federated.adapter import FederatedClassifier
from genunlearn.domains.network.federated.server import KeptRound, Reply, Server, State, Weighting, average
from genunlearn.errors import NeedNotMet


@dataclass(config=STRICT, frozen=True, kw_only=True)
class FedEraser(Protocol[FederatedClassifier]):
    """Calibrated replay of kept rounds."""

    name: ClassVar[str] = "fed_eraser"
    domains: ClassVar[frozenset[str]] = frozenset({"federated"})
    needs: ClassVar[Needs] = Needs(forget=False, full_weights=True)
    paper: ClassVar[str] = "Liu et al., IWQoS 2021"
    equation: ClassVar[str] = "w <- w + ||U_t|| U'_t / ||U'_t|| for each kept round t"

    epochs: Annotated[int, Field(ge=1, description="passes of a client in the calibration of a round")] = 1
    seed: Annotated[int, Field(ge=0, description="of the order of items")] = 0

    def run(self, train: Train, model: FederatedClassifier, splits: Splits, journal: Journal) -> Outcome:
        """Replay the kept rounds from the first weights.

        Raises:
            DataError: The items to be forgotten are not those of whole clients.
            NeedNotMet: The server has kept no rounds.
        """
        federation = model.federation
        history, going = federation.remembered(self.name), federation.going(splits.forget)
        staying = federation.staying(going)
        if not history.kept:
            raise NeedNotMet(
                f"method {self.name!r} needs rounds that the server has kept, and it has kept none: set "
                "federation.keep_every"
            )
        weights = [1 if federation.weighting == "equal" else len(federation.clients[client]) for client in staying]
        first = average([history.kept[0].states[client] for client in staying], weights)
        plan = federation.plan(first, staying, rounds=len(history.kept) - 1, seed=self.seed, epochs=self.epochs)
        trained = frozenset(name for name, _ in model.network.named_parameters())
        server = Calibrator(first, history.kept[1:], trained, federation.weighting)
        federation.teach(model, plan, server)
        reason = f"{len(history.kept)} kept rounds gone through again by {len(staying)} clients"
        return Outcome(status="trained", reason=reason, details={"clients": list(going)})


class Calibrator(Server):
    """A server that takes the direction of a round from its replies and the size of the step from a kept round."""

    def __init__(
        self, initial: State, kept: Sequence[KeptRound], trained: frozenset[str], weighting: Weighting
    ) -> None:
        """`kept` are rounds in the order in which they are gone through, `trained` the names of all but buffers."""
        super().__init__(initial, weighting=weighting)
        self._kept, self._trained = list(kept), trained

    def combine(self, before: State, replies: Sequence[Reply]) -> State:
        """The new weights."""
        old, shares = self._kept.pop(0), [1 if self._weighting == "equal" else reply.examples for reply in replies]
        now = average([reply.state for reply in replies], shares)
        then = average([old.states[reply.client] for reply in replies], shares)
        return {
            name: calibrated(before[name], now[name] - before[name], then[name] - old.start[name])
            if name in self._trained
            else tensor
            for name, tensor in now.items()
        }


def calibrated(before: Tensor, now: Tensor, then: Tensor) -> Tensor:
    """One tensor after a step in the direction of `now` that is as long as `then`; where nothing moves, as before."""
    length = now.norm()
    return before + then.norm() * now / length if length > 0 else before.clone()
