"""The ledger of requests: one line a finished run, each line bound to the one before by its hash.

    {"entry": 3, "request": {...}, "outcome": "forgotten", "record_sha256": "...", "previous": "<hash of line 2>"}

A line that is changed or removed afterwards breaks the chain, and `read_ledger` says where.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from genunlearn.errors import DataError, SourceNotFound
from genunlearn.records import RECORD_NAME, RunRecord, hash_files, now

GENESIS = "0" * 64


def append_to_ledger(path: Path | str, record: RunRecord, folder: Path) -> dict[str, Any]:
    """Add a finished run to the ledger; returns the new entry.

    Args:
        path: The ledger; made if it is not there.
        record: The run's record.
        folder: The run's output folder; the hash of its ``record.json`` is kept.

    Raises:
        DataError: The ledger is damaged; nothing is added then.
    """
    path = Path(path)
    entries = read_ledger(path) if path.is_file() else []
    entry = {
        "entry": len(entries) + 1,
        "added": now(),
        "request": record.request,
        "method": record.config.get("method", {}).get("name"),
        "outcome": record.outcome,
        "hashes": {name: value for name, value in record.hashes.items() if isinstance(value, str)},
        "record": str(folder),
        "record_sha256": hash_files([Path(folder) / RECORD_NAME]),
        "previous": _digest(_line(entries[-1])) if entries else GENESIS,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(_line(entry))
        file.flush()
        os.fsync(file.fileno())
    return entry


def read_ledger(path: Path | str) -> list[dict[str, Any]]:
    """All entries, oldest first, once the chain has been checked.

    Raises:
        SourceNotFound: There is no ledger.
        DataError: A line is not JSON, or does not follow the one before.
    """
    path = Path(path)
    if not path.is_file():
        raise SourceNotFound(f"no ledger at {path}: `genunlearn forget --ledger FILE` begins one")
    entries: list[dict[str, Any]] = []
    previous = GENESIS
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(keepends=True), 1):
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            raise DataError(f"{path}:{number}: not JSON; the line was cut or changed") from None
        if entry.get("previous") != previous or entry.get("entry") != number:
            raise DataError(f"{path}:{number}: does not follow the line before; a line was changed or removed")
        previous = _digest(line)
        entries.append(entry)
    return entries


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=False, sort_keys=True) + "\n"


def _digest(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()
