"""What a run writes: results with intervals, the record of the run, hashes, atomic files.

A record is one JSON document, schema ``genunlearn.record/1``. It is written when the run starts, with status
``interrupted``, and rewritten when the run ends: a run that dies leaves a truthful record behind.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from genunlearn.errors import DataError, SourceNotFound

SCHEMA = "genunlearn.record/1"
RECORD_NAME = "record.json"

INTERRUPTED, COMPLETED, FAILED = "interrupted", "completed", "failed"


@dataclass(frozen=True, kw_only=True)
class Result:
    """One number about one model.

    Attributes:
        name: Metric name, for instance ``recall``.
        target: Which model: ``original``, ``unlearned``, ``oracle`` or a method's name.
        value: The estimate; None when `skipped` says why there is none.
        low: Lower end of the 95% interval.
        high: Upper end of the 95% interval.
        n: Number of items behind the value.
        group: Scope group or data split the value belongs to.
        version: Version of the metric's definition.
        higher_is_better: None where neither direction is better by itself.
        skipped: Reason why no value could be had.
    """

    name: str
    target: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    group: str | None = None
    version: int = 1
    higher_is_better: bool | None = None
    skipped: str | None = None


@dataclass(kw_only=True)
class RunRecord:
    """The record of one run; every field is plain JSON.

    Attributes:
        status: ``interrupted``, ``completed`` or ``failed``.
        outcome: What came of the request, for instance ``forgotten`` or ``not_forgotten``.
        request: What was to be forgotten.
        config: The resolved configuration.
        hashes: SHA-256 of the configuration, base weights, patch, data and prompts.
        versions: Versions of this package, Python and the libraries that did the work.
        seeds: Seeds by name.
        results: Measured numbers.
        cost: Seconds by phase, tokens, steps, forwards, peak memory.
        parameters: ``trainable`` and ``total`` parameter counts.
        rounds: One entry a round for methods that work in rounds.
        examples: Answers of the models side by side, for people to read.
        verdicts: Findings of an audit, one entry a concept.
        notes: Remarks that a reader must see (limits, skipped parts, stop reasons).
        error: Message of the failure, when `status` is ``failed``.
    """

    status: str = INTERRUPTED
    outcome: str | None = None
    created: str = ""
    finished: str | None = None
    request: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    hashes: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    seeds: dict[str, int] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)
    cost: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=dict)
    rounds: list[dict[str, Any]] = field(default_factory=list)
    examples: list[dict[str, Any]] = field(default_factory=list)
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    error: str | None = None

    def __post_init__(self) -> None:
        """Stamp the time of creation."""
        self.created = self.created or now()

    def find(self, name: str, target: str, group: str | None = None) -> Result | None:
        """The result of this name, target and group, or None."""
        return next(
            (r for r in self.results if (r.name, r.target, r.group) == (name, target, group)),
            None,
        )

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON data, schema first."""
        return {"schema": SCHEMA, **dataclasses.asdict(self)}

    def write(self, folder: Path) -> Path:
        """Write ``record.json`` into `folder` in one step, and return its path."""
        path = Path(folder) / RECORD_NAME
        write_json(path, self.to_json())
        return path


def read_record(source: Path | str) -> RunRecord:
    """Read a record from its folder or file.

    Raises:
        SourceNotFound: There is no record.
        DataError: The file is not a record of this schema.
    """
    path = Path(source)
    path = path / RECORD_NAME if path.is_dir() else path
    if not path.is_file():
        raise SourceNotFound(f"no record at {path}: give a folder that a run has written (its --out)")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: not JSON ({error.msg}); the record is damaged") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 (byte {error.start}); the record is damaged") from error
    if not isinstance(data, dict) or data.pop("schema", None) != SCHEMA:
        raise DataError(f"{path}: not a record of schema {SCHEMA}")
    names = {f.name for f in dataclasses.fields(RunRecord)}
    if unknown := sorted(set(data) - names):
        raise DataError(f"{path}: unknown record fields {unknown}; written by a newer version?")
    try:
        data["results"] = [Result(**result) for result in data.get("results", [])]
    except TypeError as error:
        raise DataError(f"{path}: a result that cannot be read ({error}); written by a newer version?") from error
    return RunRecord(**data)


def now() -> str:
    """The present time, UTC, ISO 8601 to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def write_text(path: Path, text: str) -> None:
    """Write `text` so that `path` holds either its old or its new content, never a part."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, data: Any) -> None:
    """Write `data` as indented JSON in one step; NaN and infinity are refused."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object a line, in one step."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


def hash_json(data: Any) -> str:
    """SHA-256 of `data` in canonical JSON (sorted keys, no spaces)."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def hash_files(paths: Iterable[Path]) -> str:
    """SHA-256 over names and contents of files, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(map(Path, paths), key=lambda p: p.name):
        digest.update(path.name.encode() + b"\0")
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()
