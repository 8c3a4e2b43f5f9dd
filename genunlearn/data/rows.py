"""Rows of a data file, each with the place that an error message can name."""

from __future__ import annotations

import csv
import glob
import io
import json
import math
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genunlearn.data.parquet import PARQUET, read_parquet
from genunlearn.errors import DataError, SourceNotFound

JSON_SUFFIXES = (".jsonl", ".json", ".ndjson")
TABLE_SUFFIXES = (".csv", ".tsv")
SUFFIXES = (*JSON_SUFFIXES, *TABLE_SUFFIXES, PARQUET)
TEXT_SUFFIX = ".txt"
_SHOWN = 60


@dataclass(frozen=True)
class Row:
    """One row: where it stands (``"facts.csv, line 3"``) and its values by column."""

    where: str
    values: dict[str, Any]


def read_rows(path: str | Path) -> list[Row]:
    """Read JSON lines, a JSON array or object, CSV, TSV or Parquet, by the file's suffix.

    A JSON object that holds one list of objects (``{"data": [...]}``) stands for that list, any other for one row.

    Raises:
        SourceNotFound: There is no such file, or it is no file that can be read.
        DataError: The file is empty, malformed, not UTF-8, or of another kind; names file and line.
    """
    path = Path(path)
    check_is_file(path)
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path}: unknown kind of file {path.suffix!r}; use one of {', '.join(SUFFIXES)}")
    if path.suffix.lower() == PARQUET:
        return list(_parquet_rows(path))
    text = _text(path)
    rows = list((_table_rows if path.suffix.lower() in TABLE_SUFFIXES else _json_rows)(path, text))
    if not rows:
        raise DataError(f"{path}: there are no rows; write at least one")
    return rows


def files_of(folder: Path, name: str) -> list[Path]:
    """The data files called `name` in a folder: one with a known suffix, or the parts that the hub cuts a table into.

    The parts are ``NAME-00000-of-00003.parquet`` and so on; an empty list where there is neither.
    """
    for suffix in (*SUFFIXES, TEXT_SUFFIX):
        if (path := folder / f"{name}{suffix}").is_file():
            return [path]
    stem = folder / name
    return sorted(stem.parent.glob(f"{glob.escape(stem.name)}-[0-9]*-of-[0-9]*{PARQUET}"))


def read_lines(path: str | Path) -> list[Row]:
    """Read plain text, one row with the column ``text`` for each line that is not blank.

    Raises:
        SourceNotFound: There is no such file, or it is no file that can be read.
        DataError: The file is empty or not UTF-8; names file and line.
    """
    path = Path(path)
    check_is_file(path)
    lines = enumerate(_text(path).split("\n"), start=1)
    rows = [Row(f"{path}, line {number}", {"text": line.strip()}) for number, line in lines if line.strip()]
    if not rows:
        raise DataError(f"{path}: there are no lines; write at least one")
    return rows


def shown(value: Any) -> str:
    """A value as an error message quotes it: in one line, cut if it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def check_is_file(path: Path) -> None:
    """Refuse what cannot be read to its end.

    Raises:
        SourceNotFound: There is nothing, or a folder, a pipe or a device.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise SourceNotFound(f"{path}: there is no such file; check the path") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SourceNotFound(f"{shown(str(path))}: cannot be read ({reason}); give a readable file") from error
    # Reading a pipe would wait for somebody to write into it.
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise SourceNotFound(f"{path}: cannot be read (it is {kind}); give a readable file")


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise SourceNotFound(f"{path}: cannot be read ({error.strerror}); give a readable file") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: not UTF-8; save the file with the encoding UTF-8") from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise DataError(f"{path}, line {line}: a NUL character; save the file as plain UTF-8 text")
    return text


def _json_rows(path: Path, text: str) -> Iterator[Row]:
    whole = text.lstrip()
    if whole.startswith("["):
        yield from _array_rows(path, _decoded(f"{path}", text))
        return
    # Not `splitlines`, which also breaks at characters that may stand inside a JSON string.
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if lines and lines[0][1].strip()[-1] in "{[,:" and (value := _whole_object(text)) is not None:
        yield from _object_rows(path, value)
        return
    for number, line in lines:
        where = f"{path}, line {number}"
        value = _decoded(where, line)
        if len(lines) == 1 and isinstance(value, dict):
            yield from _object_rows(path, value, where)
        else:
            yield _object(where, value)


def _whole_object(text: str) -> dict[str, Any] | None:
    """The one object that a file holds, written over several lines; None if it holds something else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return _decoded("", text) if isinstance(value, dict) else None


def _object_rows(path: Path, value: dict[str, Any], where: str | None = None) -> Iterator[Row]:
    lists = [part for part in value.values() if isinstance(part, list) and any(isinstance(row, dict) for row in part)]
    if len(value) == 1 and lists and not {"messages", "conversations"} & value.keys():
        yield from _array_rows(path, lists[0])
    else:
        yield _object(where or f"{path}, item 1", value)


def _array_rows(path: Path, values: list[Any]) -> Iterator[Row]:
    for number, value in enumerate(values, start=1):
        yield _object(f"{path}, item {number}", value)


def _decoded(where: str, text: str) -> Any:
    """JSON as the standard has it: no NaN, no infinity, no name twice in an object."""

    def constant(name: str) -> None:
        raise _Unfit(f"{name} is no value of JSON; write a text, a number or null")

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in items]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise _Unfit(f"{shown(twice)} is there twice in one object; keep one")
        return dict(items)

    try:
        return json.loads(text, parse_constant=constant, object_pairs_hook=pairs)
    except _Unfit as error:
        raise DataError(f"{where}: {error}") from None
    except json.JSONDecodeError as error:
        place = f"{where}, line {error.lineno}" if ", line " not in where else where
        raise DataError(f"{place}: malformed JSON ({error.msg}); write one object a line") from error
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else "a number with too many digits"
        raise DataError(f"{where}: malformed JSON ({reason}); write one object a line") from error


class _Unfit(Exception):
    """JSON that Python reads and the standard does not know."""


def _object(where: str, value: Any) -> Row:
    if not isinstance(value, dict):
        raise DataError(f'{where}: {json.dumps(value)[:40]} is no object; write {{"subject": ..., ...}}')
    for text in _texts(value):
        if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
            raise DataError(f"{where}: {shown(text)} has half of a character (a lone surrogate); write the whole one")
        if "\0" in text:
            raise DataError(f"{where}: {shown(text)} has a NUL character; take it out")
    return Row(where, value)


def _texts(value: Any) -> Iterator[str]:
    """All texts within a decoded value, the names in its objects too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, part in value.items():
            yield name
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)


def _parquet_rows(path: Path) -> Iterator[Row]:
    for number, values in enumerate(read_parquet(path).to_pylist(), start=1):
        yield _object(f"{path}, row {number}", {name: _blank_if_nan(value) for name, value in values.items()})


def _blank_if_nan(value: Any) -> Any:
    """What pandas writes for a missing number is missing."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _table_rows(path: Path, text: str) -> Iterator[Row]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else delimiter_of(text.partition("\n")[0])
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            where, line = f"{path}, line {line}", reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if columns is None:
                columns = _columns(where, cells)
                continue
            if len(cells) > len(columns):
                surplus = f"{len(cells)} values for {len(columns)} columns"
                raise DataError(f"{where}: {surplus}; put values with a comma in quotes")
            yield Row(where, dict(zip(columns, cells, strict=False)))
    except csv.Error as error:
        raise DataError(f"{path}, line {line}: malformed CSV ({error}); check the quotes") from error


def delimiter_of(head: str) -> str:
    """What parts the columns of a table with this first line: a comma, or what stands there without any."""
    return next((mark for mark in (",", ";", "\t") if mark in head), ",")


def _columns(where: str, cells: list[str]) -> list[str]:
    columns = [cell.strip() for cell in cells]
    for name in columns:
        if columns.count(name) > 1:
            raise DataError(f"{where}: column {name!r} is there twice; keep one")
    return columns
