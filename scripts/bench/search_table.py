#!/usr/bin/env python
"""Searches side by side: first and second order, with and without the forgettability term, and cells at random.

    python scripts/bench/search_table.py --markdown docs/results/search.md

Runs lie in a folder of their own (--runs); a run that has ended there is read and not done again.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from genunlearn.config import build_config
from genunlearn.config.search import NetworkSearchConfig
from genunlearn.contracts import ORACLE, ORIGINAL, UNLEARNED
from genunlearn.ops.intervals import over_seeds
from genunlearn.records import RunRecord, write_text
from genunlearn.reports.markdown import table_of
from genunlearn.reports.numbers import format_number
from genunlearn.runs.folder import ended_run
from genunlearn.runs.network.search_run import SearchRun

SHARED = (
    "request.limit=160",
    "search.cells=2",
    "search.epochs=5",
    "search.batch_size=40",
)
WAYS = {
    "random cell": ("search.order=random",),
    "first order": ("search.order=first", "search.forgettability=0"),
    "first order, forgettability": ("search.order=first",),
    "second order": ("search.order=second", "search.forgettability=0"),
    "second order, forgettability": ("search.order=second",),
}


def accuracy(record: RunRecord, target: str, group: str) -> float:
    """Of one model on one set."""
    found = record.find("accuracy", target, group)
    assert found is not None and found.value is not None  # every search measures all three
    return found.value


def gap(record: RunRecord, target: str) -> float:
    """Accuracy on the retain set less that on the forget set."""
    return accuracy(record, target, "retain") - accuracy(record, target, "forget")


COLUMNS: dict[str, Callable[[RunRecord], float]] = {
    "Test accuracy": lambda record: accuracy(record, ORIGINAL, "test"),
    "Forget-retain gap after the steps": lambda record: gap(record, UNLEARNED),
    "The same of the retrained network": lambda record: gap(record, ORACLE),
    "Retain accuracy after the steps": lambda record: accuracy(record, UNLEARNED, "retain"),
    "Weights": lambda record: record.cost["network"]["weights"],
    "Multiply-adds, thousands": lambda record: record.cost["network"]["multiply_adds"] / 1e3,
    "Search, s": lambda record: record.cost.get("search", {}).get("seconds", 0.0),
    "Retraining, s": lambda record: record.cost[ORACLE]["seconds"],
}
INTRODUCTION = """# Searches for a small network, side by side

    python scripts/bench/search_table.py --markdown docs/results/search.md

writes this page anew. Digits of `lab:digits` (8 x 8 pixels), 160 training items, half of them for the architecture; two
cells of two nodes, 8 channels, {epochs} epochs, which is 10 steps of the architecture; the forget set is `class:3`,
three unlearning steps. Each cell of the table is the mean over n={seeds} seeds with its 95% t-interval; a seed draws
items, weights and, for the control, the cell. Seconds are those of one thread on a busy machine. Accuracies are shares
of 360 test items, or of the forget and retain items of training.
"""


def measure(config: dict[str, object], overrides: Sequence[str], folder: Path) -> RunRecord:
    """One run, or what is left of an earlier one."""
    settings = build_config(config, overrides)
    assert isinstance(settings, NetworkSearchConfig)
    found = ended_run(folder, settings)
    return found or SearchRun(settings, folder, resume=True)()


def cell(values: Sequence[float]) -> str:
    """A mean with its interval."""
    value, low, high = over_seeds(values)
    if low is None or high is None or low == high:
        return format_number(value)
    return f"{format_number(value)} [{format_number(low)}, {format_number(high)}]"


def conclusion(found: dict[str, list[RunRecord]]) -> str:
    """How far each search is from random cells of the same seeds, in words."""
    lines = []
    control = found["random cell"]
    for column in ("Test accuracy", "Forget-retain gap after the steps"):
        of = COLUMNS[column]
        for way, records in found.items():
            if records is control:
                continue
            value, low, high = over_seeds([of(a) - of(b) for a, b in zip(records, control, strict=True)])
            if low is None or high is None:
                continue
            seen = "more than chance" if low > 0 or high < 0 else "no difference that can be seen"
            lines.append(f"- {column}, {way}: {value:+.2f} [{low:+.2f}, {high:+.2f}] from the random cell, {seen}.")
    return "\n".join(lines)


def main() -> None:
    """Carry every search out on every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markdown", type=Path, help="write the page here")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=Path, default=Path(tempfile.gettempdir()) / "genunlearn-search-table")
    given = parser.parse_args()
    found: dict[str, list[RunRecord]] = {way: [] for way in WAYS}
    for seed in range(given.seeds):
        for way, own in WAYS.items():
            folder = given.runs / f"{way.replace(', ', '-').replace(' ', '-')}-{seed}"
            config = {"task": "search", "domain": "classifier", "seed": seed}
            record = measure(config, [*SHARED, *own], folder)
            found[way].append(record)
            print(f"seed {seed}, {way}: { ({name: round(of(record), 3) for name, of in COLUMNS.items()}) }", flush=True)
    rows = [
        [way, *(cell([of(record) for record in records]) for of in COLUMNS.values())] for way, records in found.items()
    ]
    head = INTRODUCTION.format(seeds=given.seeds, epochs=5)
    page = "\n".join([head, table_of(["Cell", *COLUMNS], rows), "", conclusion(found), ""])
    if given.markdown is not None:
        write_text(given.markdown, page)
    else:
        print(page)


if __name__ == "__main__":
    main()
