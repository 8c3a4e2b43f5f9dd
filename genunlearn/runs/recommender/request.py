"""What a run on a recommender is about: its catalogue, its forget set, its model and oracles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from genunlearn.config.recommender import RecommenderConfig
from genunlearn.contracts import Splits
from genunlearn.data.recommender.folders import read_catalogue
from genunlearn.data.recommender.interactions import Catalogue, as_interactions
from genunlearn.data.recommender.requests import HOW, Chosen, choose
from genunlearn.domains.recommender.adapter import Recommender
from genunlearn.domains.sources import find_folder
from genunlearn.errors import ConfigError, MismatchError, SourceNotFound
from genunlearn.ops.ranking import NO_ITEMS, Ranked
from genunlearn.records import hash_json
from genunlearn.registry import LAB, unknown_name

if TYPE_CHECKING:
    from genunlearn.lab.recommender.build import Study


@dataclass(frozen=True)
class RecommenderRequest:
    """A resolved request, before any model has loaded.

    Attributes:
        name: The forget set in words, for instance ``users:0.05``.
        catalogue: Users, items and interactions.
        chosen: What is to go.
        study: The lab's study; None for models from elsewhere.
    """

    name: str
    catalogue: Catalogue
    chosen: Chosen
    study: Study | None = None

    @property
    def forget(self) -> Tensor:
        """The interactions that go, ``(pairs, 2)``."""
        return self.catalogue.train[self.chosen.marked]

    @property
    def retain(self) -> Tensor:
        """The interactions that stay, ``(pairs, 2)``."""
        return self.catalogue.train[~self.chosen.marked]

    @cached_property
    def splits(self) -> Splits[None]:
        """Forget and retain, and held-out interactions of the forgotten items, or else of the users concerned."""
        held = torch.cat([self.catalogue.valid, self.catalogue.test])
        column, numbers = (1, self.chosen.items) if len(self.chosen.items) else (0, self.forget[:, 0].unique())
        holdout = held[torch.isin(held[:, column], numbers)]
        return Splits(
            forget=as_interactions(self.forget),
            retain=as_interactions(self.retain),
            holdout=as_interactions(holdout),
        )

    def measured(self) -> dict[str, Ranked]:
        """What is looked for, by group.

        ``forget`` ranks all items but what its users keep. ``valid`` and ``test`` leave out all that was learnt, what
        is withdrawn, and users who go.
        """
        going = self.chosen
        held = {"valid": self.catalogue.valid, "test": self.catalogue.test}
        found = {"forget": Ranked(relevant=self.forget, seen=self.retain, barred=NO_ITEMS)}
        for group, pairs in held.items():
            stays = ~torch.isin(pairs[:, 0], going.users) & ~torch.isin(pairs[:, 1], going.items)
            found[group] = Ranked(relevant=pairs[stays], seen=self.catalogue.train, barred=going.items)
        return found

    def delete_from(self, model: Recommender) -> None:
        """Delete from what the service holds: the interactions, and the features of withdrawn items."""
        model.drop(self.forget)
        model.withdraw(self.chosen.items)

    @property
    def sha256(self) -> str:
        """Hash of the data and of what is marked."""
        return hash_json([self.catalogue.sha256, self.name, self.chosen.marked.tolist()])


def read_request(config: RecommenderConfig) -> RecommenderRequest:
    """Read and check what a configuration asks to be forgotten, without loading weights.

    Raises:
        ConfigError: Nothing is to be forgotten, or model and data do not go together.
        DataError: The data or the forget set cannot be used.
        SourceNotFound: Model or data are not there.
    """
    name = config.request.forget
    if not name:
        raise ConfigError(f"request.forget is empty: {HOW}")
    if config.model.quantize != "none" or config.model.dtype != "float32":
        raise ConfigError(
            f"model.dtype = {config.model.dtype!r}, model.quantize = {config.model.quantize!r}: recommenders are run "
            "in float32, and are not quantised"
        )
    if config.parameters.kind != "full":
        raise ConfigError("parameters.kind = 'lora': vectors of users and items take none; set it to full")
    for folder in config.evaluate.oracle_folders:
        _folder(folder, "evaluate.oracle_folders")
    if config.model.source.startswith(LAB):
        study = _study(config)
        if config.request.data is not None:
            raise ConfigError(
                f"request.data = {config.request.data!r}: {config.model.source} brings its own; leave it out"
            )
        catalogue = _lab_catalogue()
        return RecommenderRequest(name, catalogue, choose(catalogue, name, seed=config.seed), study)
    _folder(config.model.source, "model.source")
    if config.request.data is None:
        raise ConfigError("request.data is not given: name the folder of the data that the model was trained on")
    catalogue = read_catalogue(config.request.data)
    return RecommenderRequest(name, catalogue, choose(catalogue, name, seed=config.seed))


def _study(config: RecommenderConfig) -> Study:
    from genunlearn.lab.recommender.build import STUDIES

    name = config.model.source.removeprefix(LAB)
    if name not in STUDIES:
        raise unknown_name("lab of a recommender", name, sorted(STUDIES))
    return STUDIES[name]


def _lab_catalogue() -> Catalogue:
    from genunlearn.lab.recommender.build import catalogue

    return catalogue()


def _folder(source: str, key: str) -> str:
    folder = find_folder(source)
    if folder is None:
        raise SourceNotFound(f"{key} = {source!r}: no such folder; give one that Recommender.save has written")
    return str(folder)


# ---- models -----------------------------------------------------------------------------------------------------


def open_recommender(config: RecommenderConfig, request: RecommenderRequest) -> Recommender:
    """The model that is to forget, with its weights.

    Raises:
        MismatchError: It was not made for these data.
    """
    if request.study:
        return request.study.original()
    model = open_folder(config, config.model.source, request)
    missing = ~torch.isin(request.catalogue.keys(request.catalogue.train), request.catalogue.keys(model.known))
    if missing.any():
        raise MismatchError(
            f"{config.model.source} does not hold {int(missing.sum()):,} of the {len(missing):,} training interactions "
            f"of {config.request.data}: give the data that it was trained on"
        )
    return model


def open_folder(config: RecommenderConfig, source: str, request: RecommenderRequest) -> Recommender:
    """A recommender from a folder, whose numbers of users and items must be those of the data."""
    model = Recommender.load(_folder(source, "model.source"), device=config.model.device)
    sizes = (len(request.catalogue.users), len(request.catalogue.items))
    if model.sizes != sizes:
        raise MismatchError(
            f"{source} has {model.sizes[0]:,} users and {model.sizes[1]:,} items, and the data {sizes[0]:,} and "
            f"{sizes[1]:,}: give the data that it was trained on"
        )
    return model


def open_oracles(config: RecommenderConfig, request: RecommenderRequest) -> tuple[Recommender, ...]:
    """Models that never saw the forget set; the lab trains those that are not cached."""
    if config.evaluate.oracle_folders:
        return tuple(open_folder(config, folder, request) for folder in config.evaluate.oracle_folders)
    if request.study is None:
        return ()
    return tuple(request.study.oracle(request.retain, request.chosen.items, seed) for seed in _oracle_seeds(config))


def retraining_seconds(config: RecommenderConfig, request: RecommenderRequest) -> float | None:
    """Mean CPU seconds that it took to train an oracle of the lab; None where nobody knows."""
    if request.study is None or config.evaluate.oracle_folders:
        return None
    cards = [request.study.card(request.retain, request.chosen.items, seed) for seed in _oracle_seeds(config)]
    seconds = [float(card["cpu_seconds"]) for card in cards if "cpu_seconds" in card]
    return fmean(seconds) if seconds else None


def why_no_oracle(config: RecommenderConfig, request: RecommenderRequest) -> str | None:
    """The reason why a run has no oracle; None where it has one."""
    if config.evaluate.oracle_folders or (request.study and config.evaluate.oracles):
        return None
    if request.study:
        return "evaluate.oracles = 0"
    return "none is given for this model: name some in evaluate.oracle_folders"


def summary_of(request: RecommenderRequest) -> Mapping[str, int | str]:
    """The request in numbers, for the record."""
    splits = request.splits
    return {
        "forget": request.name,
        "forget_interactions": len(splits.forget),
        "forget_users": len(request.forget[:, 0].unique()),
        "forget_items": len(request.forget[:, 1].unique()),
        "retain_interactions": len(splits.retain or ()),
        "held_out_interactions": len(splits.holdout or ()),
        "users": len(request.catalogue.users),
        "items": len(request.catalogue.items),
    }


def _oracle_seeds(config: RecommenderConfig) -> tuple[int, ...]:
    from genunlearn.lab.recommender.build import ORACLE_SEEDS

    return ORACLE_SEEDS[: config.evaluate.oracles]
