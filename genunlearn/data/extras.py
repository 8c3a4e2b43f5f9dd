"""Tensors that travel with the items of a data set: what a teacher has answered about each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from torch import Tensor


class HasExtras(Protocol):
    """An item, a dataclass, that tensors can travel with."""

    @property
    def extras(self) -> Mapping[str, Tensor]:
        """The tensors by name."""


T = TypeVar("T", bound=HasExtras)


def with_extras(items: Sequence[T], **columns: Tensor) -> list[T]:
    """The same items, each with its row of `columns` (first dimension the items) among its extras."""
    return [_with(item, {name: column[row] for name, column in columns.items()}) for row, item in enumerate(items)]


def _with(item: Any, more: Mapping[str, Tensor]) -> Any:
    return replace(item, extras={**item.extras, **more})
