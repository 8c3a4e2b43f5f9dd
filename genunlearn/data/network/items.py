"""Items of classifiers and regressors, made from tensors, datasets or tables."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from genunlearn.contracts import Splits
from genunlearn.data.network.sources import SUBCLASS, inputs_of, rows_of, target_of
from genunlearn.data.rows import shown
from genunlearn.errors import DataError

Encode = Callable[[Any], Mapping[str, Tensor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One labelled example.

    Attributes:
        id: Stable identifier, unique within a data set; caches are keyed by it.
        inputs: Named tensors without a batch dimension; a network with one plain input has ``x``.
        target: Class number (int64, no dimension), or the number or vector to predict (float32).
        subclass: Finer class than the target, where the data knows one.
        extras: Further named tensors that a method needs beside the inputs, for instance a teacher's outputs.
    """

    id: str
    inputs: Mapping[str, Tensor]
    target: Tensor
    subclass: int | None = None
    extras: Mapping[str, Tensor] = field(default_factory=dict)


def as_items(data: Any, *, encode: Encode | None = None, prefix: str = "item-") -> list[Item]:
    """Read labelled examples into memory.

    Args:
        data: Tensors or arrays ``(inputs, targets)`` or ``(inputs, targets, subclasses)``, the first dimension the
            examples, or a mapping of columns; a dataset or table whose rows are such tuples, or mappings with a target
            (`TARGET_COLUMNS`), an input (`INPUT_COLUMNS`, or else whatever remains) and perhaps a ``subclass``; a data
            loader; or items, which are kept.
        encode: Turns a raw input (text, image) into named tensors; by default inputs are tensors already.
        prefix: Ids are this and the row number.

    Raises:
        DataError: No rows, rows of no known shape, inputs and targets of different number, or values that are NaN
            or infinite.
    """
    if isinstance(data, Sequence) and data and isinstance(data[0], Item):
        return list(data)
    items = [_item(row, f"{prefix}{number}", encode) for number, row in enumerate(rows_of(data))]
    if not items:
        raise DataError(f"a data set without rows (not even {prefix}0): give at least one example")
    _refuse_nonfinite(items)
    return items


def as_splits(forget: Any, retain: Any = None, holdout: Any = None, *, encode: Encode | None = None) -> Splits:
    """A request from separate data sets; each as in `as_items`.

    Raises:
        DataError: As `as_items`, or an example stands in both forget and retain.
    """
    sides: dict[str, list[Item] | None] = {}
    for name, data in (("forget", forget), ("retain", retain), ("holdout", holdout)):
        try:
            sides[name] = None if data is None else as_items(data, encode=encode, prefix=f"{name}-")
        except DataError as error:
            said = str(error)
            raise DataError(said if said.startswith(f"{name}-") else f"{name}: {said}") from error.__cause__
    if sides["forget"] is None:
        raise DataError("forget = None: give the examples that are to be forgotten")
    check_disjoint(sides["forget"], sides["retain"] or ())
    return Splits(forget=sides["forget"], retain=sides["retain"], holdout=sides["holdout"])


def check_disjoint(forget: Sequence[Item], retain: Sequence[Item]) -> None:
    """Refuse an example that is to be forgotten and retained, by its content.

    Raises:
        DataError: Some are in both; the message names the first.
    """
    known = {_fingerprint(item): item.id for item in forget}
    both = [(known[print_], item.id) for item in retain if (print_ := _fingerprint(item)) in known]
    if both:
        raise DataError(
            f"{len(both)} examples are in both forget and retain, first {both[0][0]!r} = {both[0][1]!r}: "
            "take them out of retain"
        )


def targets_of(items: Sequence[Item]) -> Tensor:
    """Targets of all items, first dimension the items."""
    return torch.stack([item.target for item in items])


def classes_of(items: Sequence[Item]) -> list[int]:
    """The class numbers that occur, sorted.

    Raises:
        DataError: The targets are no class numbers.
    """
    targets = targets_of(items)
    if targets.is_floating_point() or targets.dim() != 1:
        raise DataError("classes asked of a data set whose targets are numbers to predict: use a value range")
    return targets.unique().tolist()


def hash_items(items: Sequence[Item]) -> str:
    """SHA-256 of names, inputs and targets, in their order."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(item.id.encode() + b"\0" + _fingerprint(item))
    return digest.hexdigest()


def _item(row: Any, name: str, encode: Encode | None) -> Item:
    if isinstance(row, Mapping):
        value, target, subclass = inputs_of(row), target_of(row), row.get(SUBCLASS)
    elif isinstance(row, tuple | list) and len(row) in (2, 3):
        value, target, subclass = (*row, None)[:3]
    else:
        raise DataError(f"{name}: a row of type {type(row).__name__}: give (input, target) or a mapping")
    if encode is not None and not isinstance(value, Mapping):
        value = encode(value)
    inputs = value if isinstance(value, Mapping) else {"x": value}
    return Item(
        id=name,
        inputs={key: _tensor(part, f"{name}: input {key!r}") for key, part in inputs.items()},
        target=_tensor(target, f"{name}: target"),
        subclass=None if subclass is None else _whole(subclass, f"{name}: subclass"),
    )


def _whole(value: Any, what: str) -> int:
    try:
        return int(value)
    except (TypeError, ValueError, RuntimeError):
        raise DataError(f"{what}: {type(value).__name__} is no whole number: give (input, target) alone") from None


def _tensor(value: Any, what: str) -> Tensor:
    """A tensor without gradient on the CPU: 64-bit integers for whole numbers, float32 for all others."""
    if value is None:
        raise DataError(f"{what} is blank: remove the row or fill it in")
    if isinstance(value, str):
        remedy = "number the classes from 0" if what.endswith(": target") else "encode it as numbers, or give encode="
        raise DataError(f"{what}: {shown(value)} is a text: {remedy}")
    try:
        tensor = torch.as_tensor(value).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{what}: {type(value).__name__} is no tensor, number or array: make it one first, or give encode="
        ) from error
    return tensor.float() if tensor.is_floating_point() else tensor.long()


def _refuse_nonfinite(items: Sequence[Item]) -> None:
    for item in items:
        for name, tensor in (*item.inputs.items(), ("target", item.target)):
            if tensor.is_floating_point() and not tensor.isfinite().all():
                raise DataError(f"{item.id}: {name!r} holds NaN or infinity: remove the row or fill it in")


def _fingerprint(item: Item) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(item.inputs):
        digest.update(name.encode() + b"\0" + item.inputs[name].contiguous().numpy().tobytes())
    digest.update(item.target.contiguous().numpy().tobytes())
    return digest.digest()
