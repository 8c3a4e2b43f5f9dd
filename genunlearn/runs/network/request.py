"""What a run on a classifier or regressor is about: its data, its forget set, its model and oracles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from genunlearn.config.network import NetworkConfig
from genunlearn.contracts import Splits
from genunlearn.data.network.folders import read_item_folder
from genunlearn.data.network.hardness import hardness
from genunlearn.data.network.items import Item, check_disjoint, targets_of
from genunlearn.data.network.subsets import ADVERSARIAL, choose, divide, matching
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.domains.network.classifier import Classifier, Regressor
from genunlearn.domains.network.hub import check_folder, encode_value, load_processor
from genunlearn.domains.sources import hash_weights, resolve_folder
from genunlearn.errors import ConfigError, DataError, MismatchError
from genunlearn.records import hash_files, hash_json
from genunlearn.registry import LAB, unknown_name

if TYPE_CHECKING:
    from genunlearn.lab.network.study import Study

ADAPTERS: dict[str, type[Classifier] | type[Regressor]] = {"classifier": Classifier, "regression": Regressor}
OF_A_KIND = ("class", "subclass", "range")
"""Forget sets that have counterparts among the test items."""


@dataclass(frozen=True, kw_only=True)
class NetworkRequest:
    """A resolved request, before any model has loaded.

    Attributes:
        name: The forget set in words, for instance ``class:3``.
        train: What the original has learnt, in the order that row numbers count.
        test: What it has not.
        marked: Which of `train` are to be forgotten, ``(train,)``; None where the original has to be asked.
        study: The lab's study; None for models from elsewhere.
    """

    name: str
    train: Sequence[Item]
    test: Sequence[Item]
    marked: Tensor | None
    study: Study | None = None

    @property
    def is_of_a_kind(self) -> bool:
        """Whether the forget set is a class, a sub-class or a range, so that some test items are of its kind."""
        return self.name.partition(":")[0] in OF_A_KIND

    @property
    def is_whole(self) -> bool:
        """Whether the forget set takes whole classes; unknown counts as no."""
        if self.marked is None:
            return False
        targets = targets_of(self.train)
        return not torch.isin(targets[~self.marked], targets[self.marked]).any()

    @property
    def has_retain(self) -> bool:
        """Whether anything is left to retain."""
        return self.marked is None or not bool(self.marked.all())

    def ask(self, model: NetworkDomain) -> NetworkRequest:
        """The same request with its forget set chosen; `model` ranks items for the adversarial kinds.

        Raises:
            DataError: The choice marks nothing or everything.
        """
        if self.marked is not None:
            return self
        marked = choose(self.train, self.name, scores=lambda by: hardness(model, self.train, by))
        return replace(self, marked=marked)

    def splits(self) -> Splits:
        """Forget, retain and the test items to compare the forget set with."""
        assert self.marked is not None
        if not self.has_retain:
            return Splits(forget=list(self.train), retain=None, holdout=self._counterparts())
        return divide(self.train, self.marked, holdout=self._counterparts())

    def measured(self) -> dict[str, list[Item]]:
        """What is looked at, by group: ``test`` are items of kinds that stay, ``test_forget`` those of the other."""
        splits = self.splits()
        counterparts = splits.holdout or () if self.is_of_a_kind else ()
        going = {item.id for item in counterparts}
        return {
            "forget": list(splits.forget),
            "retain": list(splits.retain or ()),
            "test": [item for item in self.test if item.id not in going],
            "test_forget": list(counterparts),
        }

    def _counterparts(self) -> list[Item]:
        try:
            return matching(self.test, self.name)
        except DataError:  # the test data has none of this kind
            return []

    @property
    def sha256(self) -> str:
        """Hash of the data's order and of what is marked."""
        marked = None if self.marked is None else self.marked.tolist()
        return hash_json([[item.id for item in self.train], [item.id for item in self.test], self.name, marked])


def read_request(config: NetworkConfig) -> NetworkRequest:
    """Read and check what a configuration asks to be forgotten, without loading weights.

    Raises:
        ConfigError: Nothing is to be forgotten, or model and data do not go together.
        DataError: The data or the forget set cannot be used.
        SourceNotFound: Model or data are not there.
    """
    if config.model.quantize != "none":
        raise ConfigError(f"model.quantize = {config.model.quantize!r}: language models only; set it to none")
    for oracle in config.evaluate.oracle_folders:
        check_folder(resolve_folder(oracle), is_regression=config.domain == "regression")
    if config.model.source.startswith(LAB):
        return _lab_request(config)
    folder = resolve_folder(config.model.source, config.model.revision)
    check_folder(folder, is_regression=config.domain == "regression")
    return _folder_request(config, folder)


def study_of(config: NetworkConfig) -> Study:
    """The study behind ``lab:NAME``; ``subclass:`` of the digits takes the one with the coarse labels.

    Raises:
        NameNotFound: There is no such lab.
        MismatchError: It is of the other domain.
    """
    from genunlearn.lab.network.digits import COARSE, DIGITS
    from genunlearn.lab.network.regression import STUDIES
    from genunlearn.lab.network.text import TEXT

    studies = {study.name: study for study in (DIGITS, COARSE, TEXT, *STUDIES.values())}
    name = config.model.source.removeprefix(LAB)
    if name not in studies:
        raise unknown_name("lab of a classifier or regressor", name, sorted(studies))
    study = COARSE if name == "digits" and (config.request.forget or "").startswith("subclass:") else studies[name]
    if (own := study.adapter().name) != config.domain:
        raise MismatchError(f"model.source = {config.model.source!r} is for domain {own!r}, not {config.domain!r}")
    return study


def _lab_request(config: NetworkConfig) -> NetworkRequest:
    study = study_of(config)
    if config.request.data is not None:
        raise ConfigError(f"request.data = {config.request.data!r}: {config.model.source} brings its own; leave it out")
    name, data = _named(config), study.data
    return NetworkRequest(
        name=name, train=data.train, test=data.test, marked=_mark(name, data.train, config.seed), study=study
    )


def _folder_request(config: NetworkConfig, folder: Path) -> NetworkRequest:
    if config.request.data is None:
        raise ConfigError("request.data is not given: name the folder of the data that the model was trained on")
    processor = load_processor(folder)
    encode = None if processor is None else partial(encode_value, processor)
    splits = read_item_folder(config.request.data, encode=encode)
    test = splits.get("test", [])
    if "train" in splits:
        name, train = _named(config), splits["train"]
        return NetworkRequest(name=name, train=train, test=test, marked=_mark(name, train, config.seed))
    if config.request.forget is not None:
        raise ConfigError(f"request.forget = {config.request.forget!r}, and the data has a split forget: leave one out")
    forget, retain = splits["forget"], splits.get("retain", [])
    check_disjoint(forget, retain)
    marked = torch.arange(len(forget) + len(retain)) < len(forget)
    return NetworkRequest(name="the split forget", train=[*forget, *retain], test=test, marked=marked)


def _named(config: NetworkConfig) -> str:
    if not config.request.forget:
        raise ConfigError("request.forget is empty: write KIND:VALUE, for instance class:3 or random:0.1")
    return config.request.forget


def _mark(name: str, train: Sequence[Item], seed: int) -> Tensor | None:
    """Which items the request means; None for the kinds that need a model, which are checked all the same."""
    if name.partition(":")[0] in ADVERSARIAL:
        choose(train, name, scores=lambda by: torch.arange(len(train)))
        return None
    return choose(train, name, seed=seed)


# ---- models -----------------------------------------------------------------------------------------------------


def open_network(config: NetworkConfig, request: NetworkRequest) -> NetworkDomain:
    """The model that is to forget, with its weights.

    Raises:
        DataError: A label is none that the model knows.
    """
    model = request.study.original() if request.study else _open_folder(config, config.model.source, request)
    model.check([*request.train, *request.test])
    return model


def open_unlearned(config: NetworkConfig, request: NetworkRequest, folder: Path) -> NetworkDomain:
    """The model that a run has left in `folder`."""
    if request.study is None:
        return _open_folder(config, str(folder), request)
    model = request.study.adapter()
    model.load_weights(folder)
    model.module.eval()
    return model


def open_oracles(config: NetworkConfig, request: NetworkRequest) -> tuple[NetworkDomain, ...]:
    """Models that never saw the forget set; the lab trains those that are not cached."""
    if config.evaluate.oracle_folders:
        return tuple(_open_folder(config, folder, request) for folder in config.evaluate.oracle_folders)
    if request.study is None:
        return ()
    retain = request.splits().retain or ()
    return tuple(request.study.oracle(retain, seed) for seed in _oracle_seeds(config))


def retraining_seconds(config: NetworkConfig, request: NetworkRequest) -> float | None:
    """Mean CPU seconds that it took to train an oracle of the lab; None where nobody knows."""
    if request.study is None or config.evaluate.oracle_folders:
        return None
    retain = request.splits().retain or ()
    cards = [request.study.card(retain, seed=seed) for seed in _oracle_seeds(config)]
    seconds = [float(card["cpu_seconds"]) for card in cards if "cpu_seconds" in card]
    return fmean(seconds) if seconds else None


def _oracle_seeds(config: NetworkConfig) -> tuple[int, ...]:
    from genunlearn.lab.network.study import ORACLE_SEEDS

    return ORACLE_SEEDS[: config.evaluate.oracles]


def why_no_oracle(config: NetworkConfig, request: NetworkRequest) -> str | None:
    """The reason why a run has no oracle; None where it has one."""
    if config.evaluate.oracle_folders or (request.study and config.evaluate.oracles):
        return None
    if request.study:
        return "evaluate.oracles = 0"
    return "none is given for this model: name some in evaluate.oracle_folders"


def base_hash(config: NetworkConfig) -> str:
    """SHA-256 that identifies the weights before unlearning."""
    if config.model.source.startswith(LAB):
        return hash_files(study_of(config).folder().glob("*.safetensors"))
    return hash_weights(resolve_folder(config.model.source, config.model.revision))


def _open_folder(config: NetworkConfig, source: str, request: NetworkRequest) -> NetworkDomain:
    settings = config.model
    revision = settings.revision if source == settings.source else None
    model = ADAPTERS[config.domain].load(source, revision=revision, dtype=settings.dtype, device=settings.device)
    if isinstance(model, Regressor):
        model.scale = float(targets_of(request.train).float().std()) or 1.0
    return model
