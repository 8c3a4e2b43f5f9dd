"""From a configuration's method section to a method, checked before any weights load."""

from __future__ import annotations

import difflib
from dataclasses import fields
from typing import Any

from pydantic import ValidationError

from genunlearn.config import MethodConfig
from genunlearn.contracts import Method
from genunlearn.errors import ConfigError
from genunlearn.registry import METHODS


def build_method(config: MethodConfig, origin: str = "method") -> Method:
    """The method that `config` names, with its hyper-parameters.

    Raises:
        NameNotFound: No such method.
        ConfigError: A hyper-parameter is unknown, mistyped or out of bounds.
    """
    kind = METHODS.get(config.name)
    known = [field.name for field in fields(kind)]
    given: dict[str, Any] = config.hyperparameters
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise ConfigError(f"{origin}: method {config.name!r} has no {name!r}; {hint}")
    try:
        return kind(**given)
    except ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"][0].lower() + problem["msg"][1:]
        raise ConfigError(f"{origin}: {config.name}.{name} = {problem['input']!r}: {message}") from None
