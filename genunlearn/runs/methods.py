"""From a configuration to its method and its attacks, checked before any weights load."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from genunlearn.config import (
    AuditConfig,
    MethodConfig,
    RunConfig,
    SyntheticConfig,
    UnlearnConfig,
    ValueConfig,
    load_config,
    place_of,
)
from genunlearn.config.continual import ContinualConfig
from genunlearn.contracts import Attack, Method
from genunlearn.errors import ConfigError, MismatchError, NameNotFound
from genunlearn.registry import ATTACKS, GENERATORS, LEARNERS, METHODS, VALUATIONS, Table, family_of


def build_method(
    config: MethodConfig,
    locate: Callable[[str], str] = "method.{}".format,
    *,
    family: str | None = None,
    seed: int | None = None,
) -> Method:
    """The method that `config` names, with its hyper-parameters.

    Args:
        config: The method's section.
        locate: Says where the section gives a key, for error messages.
        family: Family of models that it is for; by default any that has a method of this name.
        seed: The run's seed; methods with a seed of their own take it where the section gives none.

    Raises:
        NameNotFound: No such method.
        ConfigError: A hyper-parameter is unknown, mistyped or out of bounds.
    """
    kind = _find(METHODS, config.name, locate("name"), family)
    return _build("method", config.name, kind, config.hyperparameters, locate, seed)


def build_valuation(
    config: MethodConfig, locate: Callable[[str], str] = "method.{}".format, *, seed: int | None = None
) -> Any:
    """The valuation method that `config` names; arguments and errors as in `build_method`."""
    kind = _find(VALUATIONS, config.name, locate("name"), None)
    return _build("valuation", config.name, kind, config.hyperparameters, locate, seed)


def build_learner(
    config: MethodConfig, locate: Callable[[str], str] = "method.{}".format, *, seed: int | None = None
) -> Any:
    """The learner of tasks that `config` names; arguments and errors as in `build_method`."""
    kind = _find(LEARNERS, config.name, locate("name"), None)
    return _build("learner", config.name, kind, config.hyperparameters, locate, seed)


def build_generator(
    config: MethodConfig, locate: Callable[[str], str] = "method.{}".format, *, seed: int | None = None
) -> Any:
    """The generator of synthetic rows that `config` names; arguments and errors as in `build_method`."""
    kind = _find(GENERATORS, config.name, locate("name"), None)
    return _build("generator", config.name, kind, config.hyperparameters, locate, seed)


def build_attack(
    name: str,
    given: Mapping[str, Any],
    locate: Callable[[str], str],
    *,
    domain: str,
    seed: int | None = None,
) -> Any:
    """The attack called `name` for models of `domain`; arguments and errors as in `build_method`.

    Raises:
        MismatchError: It is for models of another domain.
    """
    kind = _find(ATTACKS, name, locate(""), family_of(domain))
    if domain not in kind.domains:
        fits = ", ".join(sorted(kind.domains))
        raise MismatchError(f"{locate('')}: {name!r} does not fit domain {domain!r}: it fits {fits}")
    return _build("attack", name, kind, given, locate, seed)


def build_attacks(config: UnlearnConfig, usual: Sequence[str]) -> tuple[Attack[Any], ...]:
    """The attacks that a run asks for; where it names none, those of `usual` that fit its domain.

    Raises:
        InputError: See `build_attack`.
    """
    asked = config.evaluate.attacks
    if asked is None:
        asked = tuple(name for name in usual if config.domain in ATTACKS.get(name, config.family).domains)
    sections = (MethodConfig(name=one) if isinstance(one, str) else one for one in asked)
    return tuple(
        build_attack(one.name, one.hyperparameters, _of_attack(one.name), domain=config.domain) for one in sections
    )


def _of_attack(name: str) -> Callable[[str], str]:
    return lambda key: f"evaluate.attacks, {name}.{key}" if key else "evaluate.attacks"


def _find(table: Table, name: str, place: str, family: str | None) -> Any:
    try:
        return table.get(name, family)
    except NameNotFound as error:
        raise NameNotFound(f"{place}: {error}") from None


def _build(
    what: str, name: str, kind: Any, given: Mapping[str, Any], locate: Callable[[str], str], seed: int | None
) -> Any:
    known, given = [field.name for field in fields(kind)], dict(given)
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise ConfigError(f"{locate(key)}: {what} {name!r} has no {key!r}; {hint}")
    if seed is not None and "seed" in known:
        given.setdefault("seed", seed)
    try:
        return kind(**given)
    except ValidationError as error:
        problem = error.errors()[0]
        key = str(problem["loc"][0])
        message = problem["msg"][0].lower() + problem["msg"][1:]
        raise ConfigError(f"{locate(key)}: {name}.{key} = {problem['input']!r}: {message}") from None


def load_run(source: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a configuration and check its methods or attacks too, while the file is at hand to point into.

    Raises:
        InputError: See `load_config` and `build_method`.
    """
    config = load_config(source, overrides)
    if isinstance(config, UnlearnConfig):
        build_method(config.method, lambda name: place_of(("method", name), source, overrides), family=config.family)
    if isinstance(config, ValueConfig):
        build_valuation(config.method, lambda name: place_of(("method", name), source, overrides))
    if isinstance(config, ContinualConfig):
        build_learner(config.method, lambda name: place_of(("method", name), source, overrides))
    if isinstance(config, SyntheticConfig):
        build_generator(config.method, lambda name: place_of(("method", name), source, overrides))
    if isinstance(config, AuditConfig):
        for attack, given in config.attacks.items():

            def locate(key: str, attack: str = attack) -> str:
                return place_of(("attacks", attack, key), source, overrides)

            build_attack(attack, given, locate, domain=config.domain)
    return config
