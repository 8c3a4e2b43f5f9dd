"""What a caller in Python gives to `forget`, `erase`, `audit` and `run`, checked: each fault is one line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genunlearn.errors import ConfigError, DataError


def source_of(name: str, value: Any) -> str:
    """Where a model is.

    Raises:
        ConfigError: It is no name or path, but for instance the model itself.
    """
    if isinstance(value, str | Path) and str(value):
        return str(value)
    if value is None or isinstance(value, str | int | float):
        raise ConfigError(f"{name} = {value!r}: give a folder in the hub's format, a hub id or lab:NAME")
    raise ConfigError(
        f"{name} is a {type(value).__name__}: save a pipeline or language model, .save_pretrained(FOLDER), and give "
        f"{name}=FOLDER; a classifier or regressor in memory goes to genunlearn.unlearn"
    )


def texts_of(name: str, value: Any) -> tuple[str, ...]:
    """One text, or several.

    Raises:
        DataError: Something in it is no text.
    """
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, Sequence | set | frozenset) or not all(isinstance(text, str) for text in value):
        raise DataError(f"{name} = {value!r}: give a text or a list of texts")
    return tuple(value)


def overrides_of(value: Any) -> tuple[str, ...]:
    """Several ``section.key=value``.

    Raises:
        ConfigError: It is a single one, or something else.
    """
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(one, str) for one in value):
        raise ConfigError(f"overrides = {value!r}: give a list such as ['train.max_steps=50']")
    return tuple(value)


def name_of(name: str, value: Any) -> str:
    """A name from a table.

    Raises:
        ConfigError: It is no text.
    """
    if not isinstance(value, str):
        raise ConfigError(f"{name} = {value!r}: give a name, such as those that genunlearn ls lists")
    return value


def folder_of(name: str, value: Any) -> Path:
    """A folder to write to.

    Raises:
        ConfigError: It is no path.
    """
    if not isinstance(value, str | Path):
        raise ConfigError(f"{name} = {value!r}: give the path of a folder")
    return Path(value)
