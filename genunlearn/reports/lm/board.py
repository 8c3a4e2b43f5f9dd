"""The leaderboard of a benchmark: a row a model, ``leaderboard.csv`` beside the report of a run or of a comparison."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genunlearn.records import RunRecord, write_text
from genunlearn.reports.cells import Column, Line, lines_of
from genunlearn.reports.lm.wording import request_label
from genunlearn.reports.wording import ORACLE, ORIGINAL, run_model

COLUMNS: tuple[Column, ...] = (
    ("forget_quality", "forget"),
    ("model_utility", "kept"),
    ("truth_ratio_balance", "forget"),
    ("answer_probability", "forget"),
    ("rougeL_recall", "forget"),
    ("exact_memorisation", "forget"),
    ("extraction_strength", "forget"),
)
OF_BENCHMARKS = ("forget_quality", "model_utility")
"""Metrics that only suites of benchmarks have."""
FILE = "leaderboard.csv"


def is_benchmark(record: RunRecord) -> bool:
    """Whether a run was measured as a benchmark is, be it that numbers are missing."""
    return any(result.name in OF_BENCHMARKS for result in record.results)


def board_lines(records: Mapping[str, RunRecord]) -> tuple[Line, ...]:
    """The rows: every run between the originals and the oracles, which stand once where runs share them."""
    return lines_of(records, {name for name, _ in COLUMNS}, (ORIGINAL, ORACLE))


def write_board(records: Mapping[str, RunRecord], folder: Path) -> Path | None:
    """Write ``leaderboard.csv``; None where no run was measured as a benchmark is.

    Args:
        records: Runs by the label of their rows.
        folder: Where the file goes.
    """
    found = {label: record for label, record in records.items() if is_benchmark(record)}
    if not found:
        return None
    text = io.StringIO()
    writer = csv.DictWriter(
        text, ["model", "request", "original", *(name for name, _ in COLUMNS), "seconds", "memory_mb"]
    )
    writer.writeheader()
    writer.writerows(map(_row, board_lines(found)))
    path = Path(folder) / FILE
    write_text(path, text.getvalue())
    return path


def _row(line: Line) -> dict[str, Any]:
    """One model: plain numbers, empty where there is none; time and memory of unlearning are those of methods."""
    record, results = line.record, [line.record.find(name, line.target, group) for name, group in COLUMNS]
    values = {name: result.value if result else None for (name, _), result in zip(COLUMNS, results, strict=True)}
    row = {"model": line.label, "request": request_label(record), "original": run_model(record), **values}
    if not line.is_control:
        row |= {
            "seconds": record.cost.get("seconds", {}).get("unlearn"),
            "memory_mb": record.cost.get("peak_memory_mb"),
        }
    return row
