"""From a configuration's method section to a method, checked before any weights load."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from genunlearn.config import MethodConfig, RunConfig, load_config, place_of
from genunlearn.contracts import Method
from genunlearn.errors import ConfigError, NameNotFound
from genunlearn.registry import METHODS, unknown_name


def build_method(config: MethodConfig, locate: Callable[[str], str] = "method.{}".format) -> Method:
    """The method that `config` names, with its hyper-parameters.

    Args:
        config: The method's section.
        locate: Says where the section gives a key, for error messages.

    Raises:
        NameNotFound: No such method.
        ConfigError: A hyper-parameter is unknown, mistyped or out of bounds.
    """
    if config.name not in METHODS:
        raise NameNotFound(f"{locate('name')}: {unknown_name(METHODS.kind, config.name, METHODS.names())}")
    kind = METHODS.get(config.name)
    known = [field.name for field in fields(kind)]
    given: dict[str, Any] = config.hyperparameters
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise ConfigError(f"{locate(name)}: method {config.name!r} has no {name!r}; {hint}")
    try:
        return kind(**given)
    except ValidationError as error:
        problem = error.errors()[0]
        name = str(problem["loc"][0])
        message = problem["msg"][0].lower() + problem["msg"][1:]
        raise ConfigError(f"{locate(name)}: {config.name}.{name} = {problem['input']!r}: {message}") from None


def load_run(source: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a configuration and check its method's section too, while the file is at hand to point into.

    Raises:
        InputError: See `load_config` and `build_method`.
    """
    config = load_config(source, overrides)
    build_method(config.method, lambda name: place_of(("method", name), source, overrides))
    return config
