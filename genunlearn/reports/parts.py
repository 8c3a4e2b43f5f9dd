"""Parts that the reports of every family have in common."""

from __future__ import annotations

import json
from typing import Any

from genunlearn.records import RunRecord


def details(record: RunRecord) -> dict[str, Any]:
    """What it takes to check and repeat a run, by heading."""
    hashes: dict[str, Any] = {}
    for name, value in record.hashes.items():
        hashes |= {f"{name} {key}": v for key, v in value.items()} if isinstance(value, dict) else {name: value}
    return {
        "Configuration": json.dumps(record.config, indent=2, ensure_ascii=False) if record.config else "",
        "Hashes (SHA-256)": hashes,
        "Versions": record.versions,
        "Seeds": record.seeds,
    }
