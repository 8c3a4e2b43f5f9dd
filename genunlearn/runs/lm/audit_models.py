"""The models of an audit of facts: the original, the one that is said to have forgotten, and an oracle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from genunlearn.config.lm import LMAuditConfig
from genunlearn.contracts import ORACLE, ORIGINAL, UNLEARNED
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.domains.sources import find_place
from genunlearn.engine.parameters import load_patch
from genunlearn.errors import MismatchError, SourceNotFound
from genunlearn.lab.lm.world_facts import REAL_LAB
from genunlearn.registry import LABS
from genunlearn.runs.lm.request import is_lab, lab_name, open_model

PATCH, MODEL = "patch", "model"
ADAPTER, CONFIG = "adapter_config.json", "config.json"


def unlearned_place(source: str) -> Path | str:
    """Where the model to audit lies: a model's folder, a patch, a lab model or a hub id.

    A run's folder stands for the patch or the model that the run has left in it.

    Raises:
        SourceNotFound: A folder that is none of these.
    """
    if (folder := find_place(source)) is None:
        return source
    for place in (folder, folder / PATCH, folder / MODEL):
        if (place / ADAPTER).is_file() or (place / CONFIG).is_file():
            return place
    raise SourceNotFound(f"{source}: neither a model ({CONFIG}) nor a patch ({ADAPTER}), nor a run that left one")


def is_patch(place: Path | str) -> bool:
    """Whether it is a PEFT adapter that goes beside the original's weights."""
    return isinstance(place, Path) and (place / ADAPTER).is_file()


def open_models(config: LMAuditConfig, facts: Sequence[str]) -> dict[str, LanguageModel]:
    """The models by name, the original first; without ``oracle`` where there is none.

    Args:
        config: The audit's configuration.
        facts: Identifiers of what an oracle of the lab must never have seen.

    Raises:
        MismatchError: A patch of another base, or nothing between original and unlearned model to audit.
    """
    models = {ORIGINAL: open_model(config)}
    place = unlearned_place(config.unlearned)
    if is_patch(place):
        models[UNLEARNED] = open_model(config)
        load_patch(models[UNLEARNED], Path(place))
    else:
        models[UNLEARNED] = open_model(config, str(place))
    if config.oracle == "auto" and is_lab(config) and lab_name(config) != REAL_LAB:  # nobody here trained that one
        models[ORACLE] = open_model(config, str(LABS.get(lab_name(config), "lm")(without=list(facts))))
    elif config.oracle not in ("auto", "never"):
        models[ORACLE] = open_model(config, config.oracle)
    if not config.request.force and are_same(models[ORIGINAL], models[UNLEARNED]):
        raise MismatchError(
            "original and unlearned model have the same weights: there is nothing to audit; request.force = true goes "
            "on all the same"
        )
    return models


def are_same(one: LanguageModel, two: LanguageModel) -> bool:
    """Whether two models have the same weights under the same names."""
    mine, its = one.network.state_dict(), two.network.state_dict()
    if mine.keys() != its.keys():
        return False
    return all(mine[key].shape == its[key].shape and torch.equal(mine[key], its[key]) for key in mine)
