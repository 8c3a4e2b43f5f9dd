"""Rows of a data file, each with the place that an error message can name."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genunlearn.errors import DataError, SourceNotFound

JSON_SUFFIXES = (".jsonl", ".json", ".ndjson")
TABLE_SUFFIXES = (".csv", ".tsv")
SUFFIXES = (*JSON_SUFFIXES, *TABLE_SUFFIXES)


@dataclass(frozen=True)
class Row:
    """One row: where it stands (``"facts.csv, line 3"``) and its values by column."""

    where: str
    values: dict[str, Any]


def read_rows(path: str | Path) -> list[Row]:
    """Read JSON lines, a JSON array, CSV or TSV, by the file's suffix.

    Raises:
        SourceNotFound: There is no such file.
        DataError: The file is empty, malformed, not UTF-8, or of another kind; names file and line.
    """
    path = Path(path)
    if not path.exists():
        raise SourceNotFound(f"{path}: there is no such file; check the path")
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path}: unknown kind of file {path.suffix!r}; use one of {', '.join(SUFFIXES)}")
    text = _text(path)
    if path.suffix.lower() in TABLE_SUFFIXES:
        rows = list(_table_rows(path, text))
    elif text.lstrip().startswith("["):
        rows = list(_array_rows(path, text))
    else:
        rows = list(_json_rows(path, text))
    if not rows:
        raise DataError(f"{path}: there are no rows; write at least one")
    return rows


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise SourceNotFound(f"{path}: cannot be read ({error.strerror}); give a readable file") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: not UTF-8; save the file with the encoding UTF-8") from error


def _json_rows(path: Path, text: str) -> Iterator[Row]:
    # Not `splitlines`, which also breaks at characters that may stand inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            yield _object(where, json.loads(line))
        except ValueError as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{where}: malformed JSON ({error}); write one object a line") from error


def _array_rows(path: Path, text: str) -> Iterator[Row]:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: malformed JSON ({error.msg}); mend that line") from error
    for number, value in enumerate(values, start=1):
        yield _object(f"{path}, item {number}", value)


def _object(where: str, value: Any) -> Row:
    if not isinstance(value, dict):
        raise DataError(f'{where}: {json.dumps(value)[:40]} is no object; write {{"subject": ..., ...}}')
    return Row(where, value)


def _table_rows(path: Path, text: str) -> Iterator[Row]:
    head = text.partition("\n")[0]
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ";" if ";" in head and "," not in head else ","
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


def _columns(where: str, cells: list[str]) -> list[str]:
    columns = [cell.strip() for cell in cells]
    for name in columns:
        if columns.count(name) > 1:
            raise DataError(f"{where}: column {name!r} is there twice; keep one")
    return columns
