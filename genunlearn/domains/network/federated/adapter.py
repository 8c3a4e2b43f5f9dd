"""A classifier that clients have taught together, with what is known of the federation."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from genunlearn.domains.network.base import LabelledItem, NetworkDomain
from genunlearn.domains.network.classifier import Classifier
from genunlearn.domains.network.federated.server import History, Reply, Server, State, Weighting
from genunlearn.domains.network.fitting import FitConfig, fit
from genunlearn.errors import DataError, NeedNotMet

Engine = Literal["in_process", "flower"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Rounds of a federation.

    Attributes:
        start: Weights that the first round begins with.
        clients: Who takes part.
        rounds: How many rounds.
        local: How each client teaches its own items in a round.
        seed: Decides the order of the items, together with round and client.
    """

    start: State
    clients: tuple[int, ...]
    rounds: int
    local: FitConfig
    seed: int


@dataclass(frozen=True, kw_only=True)
class Federation:
    """Clients with their items, how they teach a network, and what the server remembers of it.

    Attributes:
        clients: The items that each client teaches, by its number.
        rounds: Rounds of the original training.
        local: How a client teaches its items in a round.
        weighting: Whether a client counts by its items in the mean, or each the same.
        engine: ``in_process`` calls one client after the other; ``flower`` runs Flower's simulation (extra
            ``federated``). Both give the same weights.
        history: What the server remembers; None before the training.
    """

    clients: Mapping[int, Sequence[LabelledItem]]
    rounds: int
    local: FitConfig
    weighting: Weighting = "examples"
    engine: Engine = "in_process"
    history: History | None = None

    def going(self, forget: Sequence[LabelledItem]) -> tuple[int, ...]:
        """The clients whose items are to be forgotten.

        Raises:
            DataError: There are no items, some item belongs to no client, only a part of a client's items is among
                them, or no client would be left.
        """
        asked = {item.id for item in forget}
        found = []
        for client, items in self.clients.items():
            own = {item.id for item in items}
            if (number := len(own & asked)) == len(own):
                found.append(client)
            elif number:
                raise DataError(
                    f"client {client} has {len(own)} items, and {number} of them are to be forgotten: a federation "
                    "forgets whole clients"
                )
            asked -= own
        if not forget:
            raise DataError("no client is to be forgotten: give the items of at least one")
        if asked:
            raise DataError(f"item {min(asked)!r} belongs to no client: forget the items that clients have taught")
        if len(found) == len(self.clients):
            raise DataError(f"all {len(found)} clients are to be forgotten: nobody would be left whose model to keep")
        return tuple(found)

    def staying(self, going: Sequence[int]) -> tuple[int, ...]:
        """The clients that are not among `going`."""
        return tuple(client for client in self.clients if client not in going)

    def remembered(self, method: str) -> History:
        """What the server remembers.

        Raises:
            NeedNotMet: Nothing, since nobody has recorded the training.
        """
        if self.history is None:
            raise NeedNotMet(f"method {method!r} needs what the server has recorded in training: teach with a Server")
        return self.history

    def plan(self, start: State, clients: Sequence[int], *, rounds: int, seed: int, epochs: int | None = None) -> Plan:
        """Rounds with these clients; `epochs` in place of those of the original training where given."""
        local = self.local if epochs is None else replace(self.local, epochs=epochs)
        return Plan(start=start, clients=tuple(clients), rounds=rounds, local=local, seed=seed)

    def teach(self, model: NetworkDomain, plan: Plan, server: Server) -> None:
        """Carry rounds out and put the new weights into `model`, which is left in evaluation mode.

        Raises:
            NeedNotMet: The engine is not installed.
        """
        if not plan.rounds:
            state = plan.start
        elif self.engine == "flower":
            from genunlearn.domains.network.federated.flower import simulate

            state = simulate(model, self.clients, plan, server)
        else:
            state = in_process(model, self.clients, plan, server)
        model.network.load_state_dict(state)
        model.module.eval()


class FederatedClassifier(Classifier):
    """A classifier that clients have taught together.

    Attributes:
        federation: The clients, and what the server remembers of them.
    """

    name = "federated"

    def __init__(self, module: nn.Module, *, federation: Federation, **options: Any) -> None:
        """Wrap a network; `options` as for every network, see `NetworkDomain`."""
        super().__init__(module, **options)
        self.federation = federation


def in_process(
    model: NetworkDomain, clients: Mapping[int, Sequence[LabelledItem]], plan: Plan, server: Server
) -> State:
    """Carry rounds out, one client after the other; `model` gives the architecture and stays as it is."""
    worker, state = twin(model), plan.start
    for number in range(plan.rounds):
        replies = [
            Reply(client, train_client(worker, clients[client], state, plan, number, client), len(clients[client]))
            for client in plan.clients
        ]
        state = server.close(state, replies)
    return state


def train_client(
    worker: NetworkDomain, items: Sequence[LabelledItem], state: State, plan: Plan, number: int, client: int
) -> State:
    """What a client does in round `number`: take the weights, teach its items, and give back what became of them."""
    worker.network.load_state_dict(state)
    seed = np.random.SeedSequence((plan.seed, number, client)).generate_state(1)[0]
    fit(worker, items, plan.local, seed=int(seed))
    return state_of(worker)


def twin(model: NetworkDomain) -> NetworkDomain:
    """A copy of a network that can be trained, statistics and all, while the first one stays as it is."""
    other = copy.copy(model)
    other.module, other.learns_statistics = copy.deepcopy(model.network).requires_grad_(True), True
    return other


def state_of(model: NetworkDomain) -> dict[str, torch.Tensor]:
    """A copy of the weights and buffers of a network."""
    return {name: tensor.detach().clone() for name, tensor in model.network.state_dict().items()}
