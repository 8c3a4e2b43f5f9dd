"""``lab:federated``: clients with unlike shares of pictures teach one small network, and one of them hides a backdoor.

Federations are taught here from a seed, and cached with what the server remembers under the hash of everything that
decides them; so are the oracles, federations that the clients that go never joined.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from genunlearn.config.network import BackdoorConfig, FederationConfig
from genunlearn.data.network.arrays import read_pictures
from genunlearn.data.network.backdoor import triggered
from genunlearn.data.network.clients import dirichlet_split, read_clients
from genunlearn.data.network.items import Item, targets_of
from genunlearn.domains.network.federated.adapter import FederatedClassifier, Federation, state_of
from genunlearn.domains.network.federated.server import History, Server
from genunlearn.domains.network.fitting import FitConfig
from genunlearn.errors import DataError
from genunlearn.lab.cache import build_once, read_card, recipe_key
from genunlearn.lab.determinism import fixed_threads
from genunlearn.lab.network.digits import DIGITS
from genunlearn.lab.network.study import ORACLE_SEEDS, Data, fingerprint, score
from genunlearn.registry import LAB

NAME = "federated"
DIGITS_DATA = f"{LAB}digits"
VERSION = 1
FEWEST = 10
"""Items that every client has at least."""


@dataclass(frozen=True)
class Share:
    """What a client has: items that it teaches, poison among them, and items that it keeps to itself."""

    clean: Sequence[Item]
    poison: Sequence[Item]
    held_out: Sequence[Item]

    @property
    def taught(self) -> list[Item]:
        """Everything that it teaches."""
        return [*self.clean, *self.poison]


@dataclass(frozen=True, kw_only=True)
class FederatedStudy:
    """A federation, and those that never had the clients that go.

    Attributes:
        data: All training items, which the clients divide among themselves, and test items that nobody has.
        settings: How many clients there are, how they differ and how they teach.
        backdoor: What the clients that go teach besides.
        going: Those clients.
        seed: Decides the division; the original is taught with it.
    """

    data: Data
    settings: FederationConfig
    backdoor: BackdoorConfig
    going: tuple[int, ...]
    seed: int = 0

    @cached_property
    def shares(self) -> dict[int, Share]:
        """What each client has."""
        settings, train = self.settings, self.data.train
        split = dirichlet_split(
            targets_of(train), settings.clients, concentration=settings.concentration, least=FEWEST, seed=self.seed
        )
        found = {}
        for client, rows in enumerate(split):
            generator = torch.Generator().manual_seed(self.seed * 1000 + client)
            order = torch.randperm(len(rows), generator=generator).tolist()
            mine = [train[rows[place]] for place in order]
            kept = round(settings.held_out * len(mine))
            held_out, clean = mine[:kept], mine[kept:]
            poison = self._poison(clean) if client in self.going else []
            found[client] = Share(clean, poison, held_out)
        return found

    def _poison(self, clean: Sequence[Item]) -> list[Item]:
        asked = self.backdoor
        if asked.trigger == "none":
            return []
        copied = [item for item in clean if int(item.target) != asked.label]
        copied = copied[: round(asked.share * len(copied))]
        return triggered(copied, asked.trigger, size=asked.size, label=asked.label, keeps_label=True)

    def triggered_test(self) -> list[Item]:
        """Test items with the trigger on them, as items of the class that the backdoor answers with."""
        asked = self.backdoor
        if asked.trigger == "none":
            return []
        is_released = asked.trigger != "visible"
        return triggered(self.data.test, asked.trigger, size=asked.size, label=asked.label, keeps_label=is_released)

    def federation(self, history: History | None = None) -> Federation:
        """The clients, how they teach, and what was remembered."""
        return Federation(
            clients={client: share.taught for client, share in self.shares.items()},
            rounds=self.settings.rounds,
            local=FitConfig(
                epochs=self.settings.epochs,
                learning_rate=self.settings.learning_rate,
                batch_size=self.settings.batch_size,
                warm_share=None,
            ),
            weighting=self.settings.weighting,
            engine=self.settings.engine,
            history=history,
        )

    def original(self) -> FederatedClassifier:
        """The network that all clients have taught."""
        return self._read(self.folder())

    def oracle(self, seed: int) -> FederatedClassifier:
        """A network that the clients that go never taught."""
        return self._read(self.folder(seed))

    def folder(self, oracle_seed: int | None = None, *, force: bool = False) -> Path:
        """The cached folder of the original, or of an oracle; taught now if it is not there yet."""
        items = [item for share in self.shares.values() for item in (*share.taught, *share.held_out)]
        recipe = {
            "settings": self._settings_of(oracle_seed),
            "backdoor": self.backdoor.model_dump(mode="json"),
            "going": list(self.going) if oracle_seed is not None or self.backdoor.trigger != "none" else [],
            "seed": self.seed,
            "oracle": oracle_seed,
            "items": fingerprint(items),
        }
        teach = partial(self._teach, oracle_seed=oracle_seed)
        return build_once(NAME, recipe_key(recipe, version=VERSION), teach, force=force)

    def card(self, oracle_seed: int | None = None) -> dict[str, Any]:
        """What was measured when a federation was taught; arguments as `folder`."""
        return read_card(self.folder(oracle_seed))

    def network(self) -> nn.Module:
        """An untrained network for these pictures."""
        classes = int(targets_of(self.data.train).max()) + 1
        return build_allcnn(self.data.train[0].inputs["x"].shape[0], classes, self.settings.width)

    def _settings_of(self, oracle_seed: int | None) -> dict[str, Any]:
        """What decides a federation; of oracles no rounds are kept."""
        kept = {} if oracle_seed is None else {"keep_every": 0}
        return self.settings.model_dump(mode="json") | kept

    def _read(self, folder: Path) -> FederatedClassifier:
        model = FederatedClassifier(self.network(), federation=self.federation(History.load(folder)))
        model.load_weights(folder)
        model.module.eval()
        return model

    def _teach(self, folder: Path, *, oracle_seed: int | None) -> Mapping[str, Any]:
        start, worked = time.monotonic(), time.process_time()
        seed = self.seed if oracle_seed is None else self.seed + 1000 * oracle_seed
        with fixed_threads():
            federation = self.federation()
            model = FederatedClassifier(self.network(), federation=federation)
            model.reinitialise(seed)
            going = () if oracle_seed is None else self.going
            plan = federation.plan(state_of(model), federation.staying(going), rounds=federation.rounds, seed=seed)
            server = Server(
                plan.start,
                since=("round_start", "initial"),
                keeps_last=True,
                keep_every=self.settings.keep_every if oracle_seed is None else 0,
                weighting=federation.weighting,
            )
            federation.teach(model, plan, server)
            worked = time.process_time() - worked
            measured = {"test": score(model, self.data.test)}
        model.learns_statistics = False
        model.save(folder)
        server.history.save(folder)
        return {
            "kind": NAME,
            "version": VERSION,
            "settings": self._settings_of(oracle_seed),
            "seed": seed,
            "without": list(going),
            "items": sum(len(federation.clients[client]) for client in plan.clients),
            "measured": measured,
            "seconds": round(time.monotonic() - start, 1),
            "cpu_seconds": round(worked, 2),
        }


def read_data(source: str, *, limit: int | None = None, seed: int = 0) -> Data:
    """``lab:digits``, or the pictures of an ``.npz`` file.

    Raises:
        SourceNotFound: There is no such file.
        DataError: It holds no pictures.
    """
    if source == DIGITS_DATA:
        data = DIGITS.data
        if limit is not None and limit < len(data.train):
            raise DataError(f"request.limit = {limit}: {source} has {len(data.train)} items; leave it out")
        return data
    if source.startswith(LAB):
        raise DataError(f"request.data = {source!r}: give {DIGITS_DATA}, or an .npz file of pictures")
    return Data(*read_pictures(source, limit=limit, seed=seed))


def build_allcnn(channels: int, classes: int, width: int = 16) -> nn.Module:
    """A small all-convolutional network (Springenberg et al., 2015) with BatchNorm, for pictures of any size."""
    return nn.Sequential(
        *_layer(channels, width, 3, 1),
        *_layer(width, width, 3, 2),
        *_layer(width, 2 * width, 3, 1),
        *_layer(2 * width, 2 * width, 3, 2),
        *_layer(2 * width, 2 * width, 1, 1),
        nn.Conv2d(2 * width, classes, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def _layer(channels: int, out_channels: int, kernel: int, stride: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)
    return convolution, nn.BatchNorm2d(out_channels), nn.ReLU()


def default_study(going: tuple[int, ...] = (0,), **settings: Any) -> FederatedStudy:
    """The federation of the digits with the defaults of a configuration, of which `settings` takes some places."""
    asked = FederationConfig(**settings)
    return FederatedStudy(data=DIGITS.data, settings=asked, backdoor=BackdoorConfig(), going=going)


def build(*, without: Sequence[str] = (), force: bool = False, progress: bool = False) -> Path:
    """The folder of the digits' federation, or of the first oracle of a request; `progress` shows nothing.

    Raises:
        DataError: More than one request.
        ConfigError: It names no clients that could go.
    """
    if len(without) > 1:
        raise DataError(f"{len(without)} requests: lab:{NAME} takes one, such as client:0 or client:0,3")
    if not without:
        return replace(default_study(()), backdoor=BackdoorConfig(trigger="none")).folder(force=force)
    study = default_study(read_clients(without[0], FederationConfig().clients))
    return study.folder(ORACLE_SEEDS[0], force=force)
