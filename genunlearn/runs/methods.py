"""From a configuration's method section to a method, checked before any weights load."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from genunlearn.config import AuditConfig, MethodConfig, RunConfig, UnlearnConfig, load_config, place_of
from genunlearn.contracts import Method
from genunlearn.errors import ConfigError, NameNotFound
from genunlearn.registry import ATTACKS, METHODS, unknown_name


def build_method(
    config: MethodConfig, locate: Callable[[str], str] = "method.{}".format, *, seed: int | None = None
) -> Method:
    """The method that `config` names, with its hyper-parameters.

    Args:
        config: The method's section.
        locate: Says where the section gives a key, for error messages.
        seed: The run's seed; methods with a seed of their own take it where the section gives none.

    Raises:
        NameNotFound: No such method.
        ConfigError: A hyper-parameter is unknown, mistyped or out of bounds.
    """
    if config.name not in METHODS:
        raise NameNotFound(f"{locate('name')}: {unknown_name(METHODS.kind, config.name, METHODS.names())}")
    return _build("method", config.name, METHODS.get(config.name), config.hyperparameters, locate, seed)


def build_attack(name: str, given: Mapping[str, Any], locate: Callable[[str], str], *, seed: int | None = None) -> Any:
    """The attack called `name`; arguments and errors as in `build_method`."""
    if name not in ATTACKS:
        raise NameNotFound(f"{locate('')}: {unknown_name(ATTACKS.kind, name, ATTACKS.names())}")
    return _build("attack", name, ATTACKS.get(name), given, locate, seed)


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
        build_method(config.method, lambda name: place_of(("method", name), source, overrides))
    if isinstance(config, AuditConfig):
        for attack, given in config.attacks.items():

            def locate(key: str, attack: str = attack) -> str:
                return place_of(("attacks", attack, key), source, overrides)

            build_attack(attack, given, locate)
    return config
