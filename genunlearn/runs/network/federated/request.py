"""What a run on a federation is about: who takes part, who is to go, and what each of them has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from genunlearn.config.network import FederatedConfig
from genunlearn.contracts import Method, Splits
from genunlearn.data.network.clients import read_clients
from genunlearn.data.network.items import Item, targets_of
from genunlearn.errors import ConfigError, MismatchError
from genunlearn.lab.network.federated import NAME, FederatedStudy, Share, read_data
from genunlearn.registry import LAB
from genunlearn.runs.network.request import NetworkRequest


@dataclass(frozen=True, kw_only=True)
class FederatedRequest(NetworkRequest):
    """Clients that are to go.

    Attributes:
        federated: The federation, before and without them.
    """

    federated: FederatedStudy

    @property
    def is_of_a_kind(self) -> bool:
        """Held-out items of the clients that go are of the kind of what they taught."""
        return True

    @property
    def going(self) -> tuple[int, ...]:
        """The clients that are to go."""
        return self.federated.going

    def shares(self, *, is_going: bool) -> list[Share]:
        """What the clients that go have, or those that stay."""
        return [share for client, share in self.federated.shares.items() if (client in self.going) == is_going]

    def splits(self) -> Splits:
        """Everything that the clients that go have taught, poison too; their held-out items beside it."""
        gone, stay = self.shares(is_going=True), self.shares(is_going=False)
        return Splits(
            forget=[item for share in gone for item in share.taught],
            retain=[item for share in stay for item in share.taught],
            holdout=[item for share in gone for item in share.held_out],
        )

    def measured(self) -> dict[str, list[Item]]:
        """U-set (``forget``) and R-set (``retain``) without poison, unseen items, and test items with the trigger."""
        gone, stay = self.shares(is_going=True), self.shares(is_going=False)
        return {
            "forget": [item for share in gone for item in share.clean],
            "test_forget": [item for share in gone for item in share.held_out],
            "retain": [item for share in stay for item in share.clean],
            "test": list(self.test),
            "backdoor": self.federated.triggered_test(),
        }


def read_federated(config: FederatedConfig, method: Method) -> FederatedRequest:
    """Read and check what a configuration asks to be forgotten; nothing is taught.

    Raises:
        ConfigError: No client is to go, one never took part, or all are; or the settings do not go together.
        DataError: The data cannot be divided among so many clients.
        SourceNotFound: The data are not there.
        MismatchError: The model is none of the lab's federations.
    """
    if config.model.source != f"{LAB}{NAME}":
        raise MismatchError(
            f"model.source = {config.model.source!r}: federations are those of {LAB}{NAME}; data go to request.data"
        )
    if config.parameters.kind != "full":
        raise ConfigError("parameters.kind: clients send whole networks; set it to full")
    if config.evaluate.oracle_folders:
        raise ConfigError("evaluate.oracle_folders: a federation's oracles are taught here; leave it out")
    _check_device(config)
    going = read_clients(config.request.forget, config.federation.clients)
    if method.name == "fed_eraser" and not config.federation.keep_every:
        raise ConfigError(
            "method 'fed_eraser' goes through kept rounds again: set federation.keep_every, for example 2"
        )
    data = read_data(config.request.data or "", limit=config.request.limit, seed=config.seed)
    classes = int(targets_of(data.train).max()) + 1
    if config.backdoor.label >= classes:
        raise ConfigError(f"backdoor.label = {config.backdoor.label}: the classes are 0 to {classes - 1}")
    study = FederatedStudy(
        data=data, settings=config.federation, backdoor=config.backdoor, going=going, seed=config.seed
    )
    numbers = ",".join(map(str, going))
    train, marked = _taught(study)
    return FederatedRequest(name=f"client:{numbers}", train=train, test=list(data.test), marked=marked, federated=study)


def _taught(study: FederatedStudy) -> tuple[Sequence[Item], torch.Tensor]:
    """What all clients teach, and which of it the clients that go do."""
    parts = [(share.taught, client in study.going) for client, share in study.shares.items()]
    items = [item for taught, _ in parts for item in taught]
    return items, torch.tensor([is_going for taught, is_going in parts for _ in taught])


def _check_device(config: FederatedConfig) -> None:
    if config.model.device not in ("auto", "cpu") or config.model.quantize != "none":
        raise ConfigError("model.device, model.quantize: a federation is simulated on the CPU; leave both out")
