#!/usr/bin/env python
"""Learners of tasks that forget on request, side by side on one stream of the digits.

    python scripts/bench/continual_table.py                                        # prints the tables
    python scripts/bench/continual_table.py --markdown docs/results/continual.md   # puts them into the page

Runs that are done are read from ``--out``; one that was interrupted goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from markdown_blocks import replace_block, table

from genunlearn.config import load_config
from genunlearn.config.continual import ContinualConfig
from genunlearn.contracts import ORACLE, ORIGINAL, UNLEARNED
from genunlearn.engine.progress import Watch
from genunlearn.records import RECORD_NAME, Result, RunRecord
from genunlearn.reports.numbers import MISSING, format_interval, format_number
from genunlearn.runs.folder import ended_run
from genunlearn.runs.network.continual.run import ContinualRun

RUNS = {
    "UniCLUN, paper's form": "uniclun",
    "UniCLUN, code's constants": "uniclun_code",
    "ER, bad teaching": "er",
    "ER, UNSIR": "er_unsir",
    "DER++, bad teaching": "der",
    "DER++, UNSIR": "der_unsir",
    "EWC, bad teaching": "ewc",
    "EWC, UNSIR": "ewc_unsir",
}
SHARED = {"er_unsir": "er", "der_unsir": "der", "ewc_unsir": "ewc"}
"""Runs whose oracle is that of another: it learns alike, and never forgets."""
Columns = dict[tuple[str, str | None], str]
AT_END: Columns = {
    ("accuracy", "test"): "Known classes, unseen items",
    ("accuracy", "forget"): "Forgotten items",
    ("accuracy", "forgotten classes"): "Forgotten classes, unseen items",
    ("forgetting", None): "Forgetting",
    ("backward_transfer", None): "Backward transfer",
    ("zrf", "forget"): "ZRF",
    ("activation_distance", "forget"): "Activation distance",
    ("mia_matched", "matched"): "Matched AUC",
    ("mia_entropy", "forget"): "Entropy SVM",
}
AT_ONCE: Columns = {
    ("accuracy", "test"): "Known classes, unseen items",
    ("accuracy", None): "What was asked for",
    ("zrf", "forget"): "ZRF",
    ("activation_distance", "forget"): "Activation distance",
    ("mia_matched", "matched"): "Matched AUC",
}


def run(name: str, out: Path) -> RunRecord:
    """The record of one configuration: read where its run has ended."""
    config = load_config(f"continual/digits/{name}")
    assert isinstance(config, ContinualConfig)
    folder = out / name
    if (done := ended_run(folder, config)) is not None:
        return done
    return ContinualRun(config, folder, resume=(folder / RECORD_NAME).is_file(), watch=Watch())()


def at_end(records: dict[str, RunRecord]) -> str:
    """Rows after the last request: each run, and an oracle below those that share it."""
    rows = []
    for label, name in RUNS.items():
        record = records[name]
        rows.append([label, *_cells(record.results, UNLEARNED, AT_END)])
        if name not in SHARED:
            rows.append([f"*oracle of {label.partition(',')[0]}*", *_cells(record.results, ORACLE, AT_END)])
    return table(["", *AT_END.values()], rows)


def at_once(records: dict[str, RunRecord], step: int) -> str:
    """Rows right after a request to forget: before, after, oracle."""
    rows = []
    for label, name in RUNS.items():
        row = records[name].rounds[step - 1]
        results = [Result(**one) for one in row["results"]]
        group = f"{step} {row['request']}"
        columns: Columns = {(metric, group if of is None else of): text for (metric, of), text in AT_ONCE.items()}
        for target, said in ((ORIGINAL, "before"), (UNLEARNED, "after"), (ORACLE, "oracle")):
            if target == UNLEARNED or name not in SHARED:
                rows.append([f"{label}, {said}", *_cells(results, target, columns)])
    return table(["", *AT_ONCE.values()], rows)


def cost(records: dict[str, RunRecord]) -> str:
    """CPU seconds and steps of learning and of forgetting."""
    rows = []
    for label, name in RUNS.items():
        of = {"learn": [0.0, 0], "forget": [0.0, 0]}
        for row in records[name].rounds:
            spent = of[row["request"].partition(":")[0]]
            spent[0] += row["cpu_seconds"]
            spent[1] += row["steps"]
        rows.append([label, *(f"{seconds:.1f} s, {steps} steps" for seconds, steps in of.values())])
    return table(["", "Five tasks", "Two requests to forget"], rows)


def _cells(results: Sequence[Result], target: str, columns: Columns) -> list[str]:
    found = {(one.name, one.group): one for one in results if one.target == target}
    return [_cell(found.get(column)) for column in columns]


def _cell(result: Result | None) -> str:
    if result is None or result.value is None:
        return MISSING if result is None else "-"
    return f"{format_number(result.value)} {format_interval(result)} n={result.n}"


def main() -> None:
    """Carry out what is missing, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/continual-table"), help="folder of the runs")
    parser.add_argument("--markdown", type=Path, help="the page to put the tables into")
    given = parser.parse_args()
    records = {name: run(name, given.out) for name in RUNS.values()}
    forgets = [row["step"] for row in records["er"].rounds if row["request"].startswith("forget")]
    blocks = {"last": at_end(records), **{f"step-{k}": at_once(records, k) for k in forgets}, "cost": cost(records)}
    for name, text in blocks.items():
        if given.markdown is None:
            print(f"{text}\n")
        else:
            replace_block(given.markdown, name, text)


if __name__ == "__main__":
    main()
