"""Federations as a run sees them: clients that go, what they taught, and federations that they never joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar

import numpy as np

from genunlearn.attacks.network.base import AttackContext
from genunlearn.config.network import FederatedConfig
from genunlearn.contracts import Beside, Method, Splits
from genunlearn.contracts.family import Measurement
from genunlearn.data.network.items import targets_of
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.domains.network.federated.adapter import FederatedClassifier
from genunlearn.lab.determinism import fixed_threads
from genunlearn.lab.network.study import ORACLE_SEEDS
from genunlearn.records import hash_files, write_json
from genunlearn.registry import require
from genunlearn.runs.network.family import NetworkFamily
from genunlearn.runs.network.federated.request import FederatedRequest, read_federated
from genunlearn.runs.network.request import NetworkRequest

CLIENTS = "clients.json"


class FederatedFamily(NetworkFamily):
    """Classifiers that clients have taught together."""

    usual_attacks: ClassVar[tuple[str, ...]] = ("mia_matched", "mia_shadow", "mia_conda")
    config: FederatedConfig

    def request(self, method: Method) -> FederatedRequest:
        """The data, and which clients are to go."""
        if self.config.federation.engine == "flower":
            require("flwr", "federation.engine = 'flower'")
            require("ray", "federation.engine = 'flower'")
        return read_federated(self.config, method)

    def summary(self, request: NetworkRequest) -> str:
        """How many clients, and how many items of theirs."""
        going = len(_own(request).going)
        clients = self.config.federation.clients
        return f"{request.name}: {going} of {clients} clients to forget, with {int(request.marked.sum())} items"  # type: ignore[union-attr]

    def environment(self, request: NetworkRequest) -> AbstractContextManager[None]:
        """As many threads as the lab teaches with."""
        return fixed_threads()

    # ---- models and data -------------------------------------------------------------------------------------

    def open(self, request: NetworkRequest) -> FederatedClassifier:
        """The network that all clients have taught."""
        self.watch.announce("opening the federation (the lab teaches it if it is not cached)")
        model = _own(request).federated.original()
        model.check(request.train)
        return model

    def why_no_oracle(self, request: NetworkRequest) -> str | None:
        """The lab teaches some, unless none are asked for."""
        return None if self.config.evaluate.oracles else "evaluate.oracles = 0"

    def oracles(self, request: NetworkRequest) -> Sequence[NetworkDomain]:
        """Federations that the clients that go never joined, one a seed."""
        return [_own(request).federated.oracle(seed) for seed in self._seeds()]

    def retraining_seconds(self, request: NetworkRequest) -> float | None:
        """From the cards of the oracles; Flower's workers are other processes, whose time nobody knows."""
        if self.config.federation.engine == "flower":
            return None
        return fmean(float(_own(request).federated.card(seed)["cpu_seconds"]) for seed in self._seeds())

    def _seeds(self) -> tuple[int, ...]:
        return ORACLE_SEEDS[: self.config.evaluate.oracles]

    def attacked(self, request: NetworkRequest, beside: Beside[NetworkDomain]) -> Sequence[Splits[AttackContext]]:
        """What the clients taught without the poison: an attack on membership asks about real items."""
        clean = request.measured()
        return (replace(self._whole(request), forget=clean["forget"], retain=clean["retain"]),)

    # ---- what is written -------------------------------------------------------------------------------------

    def describe(self, request: NetworkRequest, model: NetworkDomain) -> tuple[dict[str, Any], dict[str, Any]]:
        """Who goes and what they have, in numbers; hashes of the base and the request."""
        study = _own(request).federated
        clean = request.measured()
        said = {
            "model": self.config.model.source,
            "data": self.config.request.data,
            "forget": request.name,
            "clients": self.config.federation.clients,
            "rounds": self.config.federation.rounds,
            "forget_items": len(clean["forget"]),
            "poisoned_items": len(request.splits().forget) - len(clean["forget"]),
            "retain_items": len(clean["retain"]),
            "held_out_items": len(clean["test_forget"]),
            "test_items": len(request.test),
            "backdoor": self.config.backdoor.trigger,
        }
        base = hash_files(study.folder().glob("*.safetensors"))
        return said, {"base": base, "request": request.sha256}

    def finish(self, request: NetworkRequest, measured: Mapping[str, Measurement], folder: Path) -> None:
        """The membership curves; and by client its items of each class, and how far it has moved the weights."""
        super().finish(request, measured, folder)
        study = _own(request).federated
        classes = int(targets_of(request.train).max()) + 1
        history = study.original().federation.remembered(self.config.method.name)
        moved = history.moved["round_start"]
        weights = {name for name, _ in study.network().named_parameters()}
        rows = []
        for client, share in study.shares.items():
            counts = np.bincount(targets_of(share.clean).numpy(), minlength=classes)
            total = sum(float(tensor.sum()) for name, tensor in moved[client].items() if name in weights)
            said = {"client": client, "is_going": client in study.going, "poisoned": len(share.poison)}
            rows.append({**said, "items": counts.tolist(), "moved": round(total, 6)})
        write_json(folder / CLIENTS, {"clients": rows})


def _own(request: NetworkRequest) -> FederatedRequest:
    assert isinstance(request, FederatedRequest)
    return request
