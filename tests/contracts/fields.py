"""What dataclasses of methods and attacks declare on their fields."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any

import annotated_types
import pytest


def fields_of(kind: type) -> Iterator[tuple[str, Any]]:
    """Names and annotated types."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return ((field.name, hints[field.name]) for field in dataclasses.fields(kind))


def limits(kind: type) -> Iterator[tuple[str, float, str]]:
    """``(field, value just outside, field's bound)`` for every declared bound."""
    for field, hint in fields_of(kind):
        for note in typing.get_args(hint)[1:]:
            for bound in getattr(note, "metadata", ()):
                for symbol, beyond in (("gt", 0), ("ge", -1), ("lt", 0), ("le", 1)):
                    if isinstance(bound, getattr(annotated_types, symbol.capitalize())):
                        yield field, getattr(bound, symbol) + beyond, symbol


def check_fields(kind: type) -> None:
    """Every field has a meaning and every number a bound."""
    bounded = {field for field, _, _ in limits(kind)}
    for field, hint in fields_of(kind):
        base, *notes = typing.get_args(hint)
        assert any(getattr(note, "description", None) for note in notes), f"{field} has no description"
        assert base not in (int, float) or field in bounded, f"{field} has no bound"


def check_is_complete_and_frozen(kind: type) -> None:
    """Everything has a default, goes by keyword and stays as it is."""
    made = kind()
    for field in dataclasses.fields(made):
        assert field.kw_only
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, field.name, getattr(made, field.name))
    assert made == kind()
