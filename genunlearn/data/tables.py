"""Tables of numbers and categories: read from CSV, JSON lines or Parquet, checked before anything is learnt from them.

A column is of numbers where every cell that is not blank is one, else of categories; a column of numbers with two
different values, and what the caller names, are categories too. A blank among numbers is missing (NaN), a blank among
categories is a category of its own.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genunlearn.data.parquet import PARQUET, read_parquet
from genunlearn.data.rows import check_is_file, read_rows, shown
from genunlearn.errors import DataError

Floats = NDArray[np.float64]

BLANK = ""
BLANKS = {"", "na", "n/a", "nan", "null", "none"}
"""Cells that stand for nothing, in any case."""
WITH_COMMA = re.compile(r"[-+]?\d+,\d+")
LARGEST = 1e100
"""Beyond it squares overflow."""
MOST_LEVELS = 200
"""Categories of a column; with more it looks like an identifier."""
FEWEST_ROWS = 8
TARGETS = ("target", "label", "labels", "class", "y")
"""Columns that are predicted where the caller names none."""


@dataclass(frozen=True)
class Column:
    """One column: its categories, or None for numbers."""

    name: str
    levels: tuple[str, ...] | None = None

    @property
    def is_category(self) -> bool:
        """Whether its values are numbers of categories."""
        return self.levels is not None


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of numbers and categories.

    Attributes:
        columns: What each column is.
        values: ``(rows, columns)``: numbers, NaN where one is missing, and category numbers.
        target: Place of the column that is predicted from the others.
    """

    columns: tuple[Column, ...]
    values: Floats
    target: int

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: Any) -> Table:
        """Some rows, by number or mask."""
        return replace(self, values=self.values[rows])

    def having(self, values: Floats) -> Table:
        """Other rows of the same columns."""
        return replace(self, values=values)

    @property
    def is_category(self) -> NDArray[np.bool_]:
        """Which columns hold categories, ``(columns,)``."""
        return np.array([column.is_category for column in self.columns])

    def csv(self) -> str:
        """The rows as CSV, categories by name."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([column.name for column in self.columns])
        writer.writerows([_spelt(value, c) for value, c in zip(row, self.columns, strict=True)] for row in self.values)
        return text.getvalue()


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a caller wants a table read.

    Attributes:
        target: Name of the column that is predicted; by default one of `TARGETS`.
        drop: Columns that are left out.
        categories: Columns that are categories although they hold numbers.
        numbers: Columns that are numbers although they hold two different ones.
    """

    target: str | None = None
    drop: Collection[str] = ()
    categories: Collection[str] = ()
    numbers: Collection[str] = ()


def read_table(path: Path | str, reading: Reading | None = None) -> Table:
    """Read a table from a file, by its suffix.

    Raises:
        SourceNotFound: There is no such file.
        DataError: It is no table that can be learnt from; one line that names the place.
    """
    return as_table(read_columns(path), reading or Reading(), str(path))


def read_columns(path: Path | str) -> dict[str, list[Any]]:
    """Cells by column; errors as in `read_table`."""
    path = Path(path)
    if path.suffix.lower() == PARQUET:
        return _parquet(path)
    rows = read_rows(path)
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    for row in rows:
        if len(row.values) < len(names):
            lacking = next(name for name in names if name not in row.values)
            raise DataError(f"{row.where}: {len(row.values)} values for {len(names)} columns: {shown(lacking)} lacks")
    return {name: [row.values[name] for row in rows] for name in names}


def as_table(cells: Mapping[str, Sequence[Any]], reading: Reading, origin: str) -> Table:
    """A table from cells by column.

    Args:
        cells: Texts, numbers, booleans or None; all columns equally long.
        reading: What the caller says of columns.
        origin: What the caller calls it, for the message.

    Raises:
        DataError: There are too few rows or columns, no target, or a cell cannot be used.
    """
    names = [name for name in cells if name not in reading.drop]
    for name in (*reading.drop, *reading.categories, *reading.numbers):
        if name not in cells:
            raise DataError(f"{origin}: no column {shown(name)}; its columns are {_named(list(cells))}")
    target = find_target(names, reading.target, origin)
    if len(names) < 2:
        raise DataError(f"{origin}: one column: a table needs a target and something to predict it from")
    found = [_column(name, cells[name], reading, origin) for name in names]
    values = np.stack([column for _, column in found], axis=1)
    if len(values) < FEWEST_ROWS:
        raise DataError(f"{origin}: {len(values)} rows: at least {FEWEST_ROWS} are needed")
    place = names.index(target)
    _check_target(target, cells[target], origin)
    if len(np.unique(values[:, place])) < 2:
        raise DataError(f"{origin}: the target {shown(target)} is the same in all rows: nothing can be predicted")
    levels = found[place][0].levels
    if levels is not None and len(levels) > len(values) / 2:
        raise DataError(
            f"{origin}: the target {shown(target)} has {len(levels):,} classes in {len(values):,} rows: it looks like "
            "an identifier; name another (--target)"
        )
    return Table(columns=tuple(column for column, _ in found), values=values, target=place)


def like(known: Table, cells: Mapping[str, Sequence[Any]], origin: str) -> Table:
    """Rows read as those of a known table; categories that it lacks get numbers behind its own.

    Raises:
        DataError: A column lacks, or holds a text among numbers.
    """
    columns, found = [], []
    for column in known.columns:
        if column.name not in cells:
            raise DataError(f"{origin}: no column {shown(column.name)}, which the real table has")
        texts = [text_of(cell) for cell in cells[column.name]]
        if column.levels is None:
            found.append(_numbers(column.name, texts, origin))
            columns.append(column)
            continue
        levels = (*column.levels, *sorted(set(map(_level, texts)) - set(column.levels)))
        if len(levels) - len(column.levels) > MOST_LEVELS:
            raise DataError(f"{origin}: column {shown(column.name)} has {len(levels):,} categories, most of them new")
        columns.append(Column(column.name, levels))
        found.append(_codes(texts, levels))
    if not found or len(found[0]) < FEWEST_ROWS:
        raise DataError(f"{origin}: {len(found[0]) if found else 0} rows: at least {FEWEST_ROWS} are needed")
    target = known.columns[known.target].name
    _check_target(target, cells[target], origin)
    return Table(columns=tuple(columns), values=np.stack(found, axis=1), target=known.target)


def find_target(names: Sequence[str], given: str | None, origin: str) -> str:
    """The column that is predicted: the one given, or the only one with a usual name.

    Raises:
        DataError: There is none, or several.
    """
    if given is not None:
        if given not in names:
            raise DataError(f"{origin}: no target column {shown(given)}; its columns are {_named(names)}")
        return given
    known = [name for name in names if name.lower() in TARGETS]
    if len(known) != 1:
        found = f"{len(known)} target columns ({', '.join(known)})" if known else "no target column"
        raise DataError(f"{origin}: {found}: name one of {_named(names)} (--target)")
    return known[0]


def _check_target(name: str, cells: Sequence[Any], origin: str) -> None:
    for row, cell in enumerate(cells, start=1):
        if is_blank(text_of(cell)):
            raise DataError(f"{origin}: the target {shown(name)} is blank in row {row}: remove the row or fill it in")


def _named(names: Sequence[str]) -> str:
    return ", ".join(map(shown, names[:8])) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _column(name: str, cells: Sequence[Any], reading: Reading, origin: str) -> tuple[Column, Floats]:
    texts = [text_of(cell) for cell in cells]
    wanted = {text for text in texts if not is_blank(text)}
    is_category = name in reading.categories or any(as_number(text) is None for text in wanted)
    if not is_category and name not in reading.numbers:
        # what is no proper number is left to `_numbers`, which says where it stands
        is_proper = all(abs(as_number(text) or 0.0) <= LARGEST for text in wanted)
        # not their values: long whole numbers that differ in the last digits have one
        is_category = is_proper and 0 < len(set(map(_level, wanted))) <= 2
    if not wanted:
        raise DataError(f"{origin}: column {shown(name)} is blank in all rows: leave it out (--drop)")
    if not is_category or name in reading.numbers:
        return Column(name), _numbers(name, texts, origin)
    if name not in reading.categories and all(map(WITH_COMMA.fullmatch, wanted)):
        raise DataError(
            f"{origin}: column {shown(name)} holds numbers with a comma, such as {shown(min(wanted))}: write 1234.5 "
            "for them, or call it a category (--category)"
        )
    levels = tuple(sorted(set(map(_level, texts)), key=_sorting))
    if len(levels) > MOST_LEVELS:
        raise DataError(
            f"{origin}: column {shown(name)} has {len(levels):,} different texts, more than {MOST_LEVELS}: it looks "
            "like an identifier; leave it out (--drop)"
        )
    return Column(name, levels), _codes(texts, levels)


def _numbers(name: str, texts: Sequence[str], origin: str) -> Floats:
    found = np.full(len(texts), np.nan)
    for row, text in enumerate(texts, start=1):
        if is_blank(text):
            continue
        number = as_number(text)
        if number is None:
            raise DataError(f"{origin}: column {shown(name)}, row {row}: {shown(text)} is no number")
        if not abs(number) <= LARGEST:
            raise DataError(f"{origin}: column {shown(name)}, row {row}: {shown(text)} is beyond {LARGEST:g}")
        found[row - 1] = number
    return found


def _codes(texts: Sequence[str], levels: Sequence[str]) -> Floats:
    number = {level: code for code, level in enumerate(levels)}
    return np.array([number[_level(text)] for text in texts], dtype=np.float64)


def text_of(cell: Any) -> str:
    """A cell as it is spelt.

    Raises:
        DataError: It is neither text nor number.
    """
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return BLANK
    if isinstance(cell, list | dict | tuple | bytes):
        raise DataError(f"a cell of type {type(cell).__name__} ({shown(cell)}): a table holds numbers and texts")
    return repr(float(cell)) if isinstance(cell, float) else str(cell).strip()


def is_blank(text: str) -> bool:
    """Whether a cell stands for nothing."""
    return text.lower() in BLANKS


def _level(text: str) -> str:
    """A category's name; whole numbers are spelt alike however they were written."""
    if is_blank(text):
        return BLANK
    number = as_number(text)
    return str(int(number)) if number is not None and number.is_integer() and abs(number) < 2**53 else text


def _sorting(level: str) -> tuple[bool, float, str]:
    """Numbers by size before texts."""
    number = as_number(level)
    return number is None, number or 0.0, level


def as_number(text: str) -> float | None:
    """The number that a text spells; Python's own spellings with underscores are none."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def _spelt(value: float, column: Column) -> str:
    if column.levels is not None:
        return column.levels[int(value)]
    return BLANK if math.isnan(value) else f"{value:.9g}"


def _parquet(path: Path) -> dict[str, list[Any]]:
    from pyarrow import types

    check_is_file(path)
    found = read_parquet(path)
    for field in found.schema:
        if types.is_nested(field.type) or types.is_binary(field.type):
            raise DataError(f"{path}: column {shown(field.name)} holds {field.type}: leave it out of the file")
    return {name: found.column(name).to_pylist() for name in found.column_names}
