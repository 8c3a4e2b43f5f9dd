"""The record of a run and the results in it.

A record is one JSON document, schema ``genunlearn.record/1``. It is written when the run starts, with status
``interrupted``, and rewritten when the run ends: a run that dies leaves a truthful record behind.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from genunlearn.errors import SourceNotFound
from genunlearn.records.files import read_json, write_json
from genunlearn.records.schema import SCHEMA, check_record

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
        cost: Seconds by phase, tokens, steps, forwards, peak memory; device, dtype, threads and processes behind them.
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
    """Read a record from its folder or file; it may come from anywhere, and is checked before it is believed.

    Raises:
        SourceNotFound: There is no record.
        DataError: The file is not a record of this schema; the message names the first field that is wrong.
    """
    path = Path(source)
    try:
        path = path / RECORD_NAME if path.is_dir() else path
        data = read_json(path, "record")
    except SourceNotFound:
        raise SourceNotFound(f"no record at {path}: give a folder that a run has written (its --out)") from None
    except OSError as error:  # is_dir, of a name that is too long
        raise SourceNotFound(f"no record at {str(path)[:200]!r}: {error.strerror}") from None
    fields = check_record(data, path)
    fields["results"] = [Result(**result) for result in fields.get("results", [])]
    return RunRecord(**fields)


def now() -> str:
    """The present time, UTC, ISO 8601 to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
