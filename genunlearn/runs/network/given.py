"""What a caller in Python gives to `genunlearn.unlearn`, checked: each fault is one line that says what to do."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from genunlearn.config import MethodConfig, TrainConfig, build_section
from genunlearn.contracts import Domain, Method, Splits
from genunlearn.data.network.items import targets_of
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.domains.network.classifier import Classifier, Regressor
from genunlearn.errors import ConfigError, MismatchError, NeedNotMet
from genunlearn.runs.methods import build_method

FEDERATED = frozenset({"federated"})
ELSEWHERE = {
    "graph": "genunlearn.unlearn_graph(network, data, forget='nodes:3,17') takes its network and graph",
    "recommender": "save it (model.save(FOLDER)), and give FOLDER as model.source to a run with domain: recommender",
}
"""What to do with models of other families, by domain."""

DEFAULTS = TrainConfig(learning_rate=1e-3, batch_size=64, max_steps=100)


def module_of(model: Any) -> nn.Module:
    """The network itself.

    Raises:
        MismatchError: It is none, or one without values, or made for other work.
    """
    if isinstance(model, Domain) and model.name in ELSEWHERE:
        raise MismatchError(f"model is a {type(model).__name__}: {ELSEWHERE[model.name]}")
    module = model.module if isinstance(model, NetworkDomain) else model
    if not isinstance(module, nn.Module):
        raise MismatchError(_no_module(model))
    if callable(getattr(module, "generate", None)):
        raise MismatchError(
            f"model is a {type(module).__name__}, which writes text: save it (save_pretrained) and give the folder to "
            "genunlearn.forget"
        )
    if any(kind.__name__ == "MessagePassing" for part in module.modules() for kind in type(part).__mro__):
        raise MismatchError(f"model is a {type(module).__name__}, which sees a graph: {ELSEWHERE['graph']}")
    weights = dict(module.named_parameters())
    if not weights:
        raise MismatchError(f"model is a {type(module).__name__} without weights: there is nothing that could forget")
    for name, weight in weights.items():
        if is_lazy(weight) or weight.is_meta:
            raise MismatchError(f"weight {name!r} has no values yet: load the network, or call it once")
        if weight.is_inference():
            raise MismatchError(f"weight {name!r} was made under torch.inference_mode: load the network outside of it")
    return module


def method_of(method: Any, seed: Any, *, soften: bool) -> Method:
    """The method that a name, or a mapping with a name and hyper-parameters, stands for.

    One that can soften itself does so as `soften` says, where the mapping does not.

    Raises:
        ConfigError: It is neither, a hyper-parameter is wrong, or the seed is no seed.
        NameNotFound: There is no such method for networks.
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ConfigError(f"seed = {seed!r}: give a whole number, at least 0")
    given = {"name": method} if isinstance(method, str) else method
    if not isinstance(given, Mapping) or "name" not in given:
        raise ConfigError(f"method = {method!r}: give a name, or a mapping with a 'name' and hyper-parameters")
    chosen: Any = build_method(build_section(MethodConfig, given, "method"), family="network", seed=seed)
    if "soften" in given or "soften" not in {field.name for field in fields(chosen)}:
        return chosen
    return replace(chosen, soften=soften)


def check_federated(method: Method, where: str) -> None:
    """Refuse a method of federations where there is none.

    Raises:
        NeedNotMet: It needs what clients have taught.
    """
    if method.domains == FEDERATED:
        raise NeedNotMet(
            f"{where}: method {method.name!r} needs a federation, whose server has recorded what each client taught: "
            f"genunlearn run federated/digits/{method.name} has one"
        )


def settings_of(train: Any) -> TrainConfig:
    """The settings of the loop, of which a mapping holds what differs from `DEFAULTS`.

    Raises:
        ConfigError: A setting is unknown, of the wrong type or out of range.
    """
    if isinstance(train, Mapping):
        train = build_section(TrainConfig, {**DEFAULTS.model_dump(), **train}, "train")
    if not isinstance(train, TrainConfig):
        raise ConfigError(f"train = {train!r}: give a TrainConfig, or a mapping such as {{'learning_rate': 1e-4}}")
    never = train.max_steps  # nothing is resumed, so that nothing has to be saved on the way
    return train.model_copy(update={"save_every": never})


def is_whole(splits: Splits) -> bool:
    """Whether no class of the forget set is among what must stay; numbers to predict have no classes."""
    if not splits.retain or splits.forget[0].target.is_floating_point():
        return True
    return not torch.isin(targets_of(splits.retain), targets_of(splits.forget)).any().item()


def adapter_of(model: Any, splits: Splits) -> NetworkDomain:
    """A copy of the caller's adapter, or a new one: what happens to it stays within the call."""
    if isinstance(model, NetworkDomain):
        return copy.copy(model)
    return Regressor(model) if splits.forget[0].target.is_floating_point() else Classifier(model)


def _no_module(model: Any) -> str:
    if isinstance(model, str | Path):
        return (
            f"model = {str(model)!r}: give the network itself; Classifier.load(FOLDER) and Regressor.load(FOLDER) of "
            "genunlearn.domains.network.classifier read one"
        )
    if callable(getattr(model, "save_pretrained", None)):
        return (
            f"model is a {type(model).__name__}: save it (save_pretrained) and give the folder to genunlearn.erase "
            "(a pipeline) or genunlearn.forget (a language model)"
        )
    return f"model is of type {type(model).__name__}: give an nn.Module, or an adapter made of one"
