"""Rows of labelled examples, from whatever a caller keeps them in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from genunlearn.errors import DataError

INPUT_COLUMNS = ("x", "image", "img", "pixel_values", "text", "sentence", "features")
TARGET_COLUMNS = ("label", "labels", "target", "targets", "y")
TOKEN_COLUMNS = ("input_ids", "attention_mask", "token_type_ids")
SUBCLASS = "subclass"

KINDS = (
    "give (inputs, targets) tensors, a mapping of columns, a dataset whose rows are (input, target) or mappings, or a "
    "data loader"
)


def rows_of(data: Any) -> Iterator[Any]:
    """The rows of a data set, each ``(input, target)``, ``(input, target, subclass)`` or a mapping with these.

    Args:
        data: Columns (a tuple or list of tensors or arrays, or a mapping of them), a map-style or iterable dataset, a
            table, a data loader, or an iterable of rows or batches.

    Raises:
        DataError: It is none of these, or its columns are not equally long.
    """
    if isinstance(data, str | bytes | Tensor | np.ndarray):
        raise DataError(f"a data set of type {type(data).__name__}: {KINDS}")
    if isinstance(data, Mapping):
        return _transposed(data)
    if isinstance(data, tuple | list) and data and all(map(_is_column, data)) and not _is_rows(data):
        return _zipped(data)
    if isinstance(data, DataLoader):
        return _unbatched(data) if data.batch_sampler is not None else iter(data)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, IterableDataset):
        return _indexed(data)
    if isinstance(data, Iterable):
        return (row for part in data for row in (_split(part) if _is_batch(part) else (part,)))
    raise DataError(f"a data set of type {type(data).__name__}: {KINDS}")


def inputs_of(row: Mapping[str, Any]) -> Any:
    """The input column of a row; of a tokenized text, and where no column has a usual name, several, by name.

    Raises:
        DataError: There is nothing but a target.
    """
    if TOKEN_COLUMNS[0] in row:
        return {name: row[name] for name in TOKEN_COLUMNS if name in row}
    for name in INPUT_COLUMNS:
        if name in row:
            return row[name]
    rest = {name: value for name, value in row.items() if name not in (*TARGET_COLUMNS, SUBCLASS)}
    if not rest:
        raise DataError(f"a row with columns {sorted(row)}: one of {', '.join(INPUT_COLUMNS)} is needed")
    return rest


def target_of(row: Mapping[str, Any]) -> Any:
    """The target column of a row, or of a batch.

    Raises:
        DataError: There is none.
    """
    for name in TARGET_COLUMNS:
        if name in row:
            return row[name]
    raise DataError(f"a row with columns {sorted(map(str, row))}: one of {', '.join(TARGET_COLUMNS)} is needed")


def _is_column(part: Any) -> bool:
    """Whether a part of a tuple can be one column of the data; a mapping is a column of named inputs."""
    return isinstance(part, Tensor | np.ndarray | list | Mapping)


def _is_rows(data: Sequence[Any]) -> bool:
    """Whether a tuple or list of such parts holds rows: mappings with a target each, or, in a list, lists."""
    if all(isinstance(part, Mapping) for part in data):
        return True
    return isinstance(data, list) and any(isinstance(part, list) for part in data)


def _zipped(columns: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    parts = [list(_transposed(part)) if isinstance(part, Mapping) else part for part in columns]
    if len({len(part) for part in parts}) != 1 or len(parts) not in (2, 3):
        sizes = ", ".join(str(len(part)) for part in parts)
        raise DataError(f"parts of {sizes} rows: give (inputs, targets) or (inputs, targets, subclasses), equally long")
    return zip(*parts, strict=True)


def _transposed(columns: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    odd = [name for name, column in columns.items() if not hasattr(column, "__len__") or isinstance(column, str)]
    if odd:
        raise DataError(f"column {odd[0]!r} is of type {type(columns[odd[0]]).__name__}: give a tensor, array or list")
    sizes = {name: len(column) for name, column in columns.items()}
    if len(set(sizes.values())) > 1:
        said = ", ".join(f"{name!r} has {size}" for name, size in sizes.items())
        raise DataError(f"columns of different length: {said} rows")
    return ({name: column[row] for name, column in columns.items()} for row in range(min(sizes.values(), default=0)))


def _indexed(data: Any) -> Iterator[Any]:
    for row in range(len(data)):
        try:
            yield data[row]
        except (KeyError, IndexError, TypeError, NotImplementedError) as error:
            raise DataError(f"a data set of type {type(data).__name__} gives no row {row}: {KINDS}") from error


def _unbatched(loader: Iterable[Any]) -> Iterator[Any]:
    return (row for batch in loader for row in _split(batch))


def _is_batch(part: Any) -> bool:
    """Whether a part of a stream holds many examples: the class number of a single one has no dimension."""
    target = None
    if isinstance(part, Mapping):
        target = target_of(part)
    elif isinstance(part, tuple | list) and len(part) in (2, 3):
        target = part[1]
    return isinstance(target, Tensor | np.ndarray) and target.ndim == 1 and "int" in str(target.dtype)


def _split(batch: Any) -> Iterator[Any]:
    """The rows of one batch of a loader."""
    if isinstance(batch, Mapping):
        return _transposed(batch)
    if isinstance(batch, tuple | list) and all(map(_is_column, batch)):
        return _zipped(batch)
    raise DataError(f"a batch of type {type(batch).__name__}: a loader gives (inputs, targets) or a mapping")
