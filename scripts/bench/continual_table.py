#!/usr/bin/env python
"""Learners of tasks that forget on request, side by side on one stream of the digits.

    python scripts/bench/continual_table.py                                        # prints the tables
    python scripts/bench/continual_table.py --markdown docs/results/continual.md   # puts them into the page

Runs that are done are read from ``--out``; one that was interrupted goes on where it was. UniCLUN in the paper's form
takes three seeds, the others one: ``--seeds 3`` gives three to all.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from markdown_blocks import replace_block, seeds_cell, table

from genunlearn.config import load_config
from genunlearn.config.continual import ContinualConfig
from genunlearn.contracts import ORACLE, ORIGINAL, UNLEARNED
from genunlearn.engine.progress import Watch
from genunlearn.records import RECORD_NAME, Result, RunRecord
from genunlearn.reports.network.continual import read_steps, read_stream
from genunlearn.reports.numbers import MISSING, format_estimate
from genunlearn.runs.folder import ended_run
from genunlearn.runs.network.continual.run import ContinualRun

SEEDS = {"uniclun": 3}
"""Seeds of a configuration, if more than one."""
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


ENDS = {"forgetting": (-1.0, 1.0), "backward_transfer": (-1.0, 1.0), "activation_distance": (0.0, 2.0**0.5)}
"""Where a metric ends, if not at 0 and 1."""
Runs = dict[str, list[RunRecord]]
"""Records of each configuration, one a seed."""


def run(name: str, seed: int, out: Path) -> RunRecord:
    """The record of one configuration and seed: read where its run has ended."""
    config = load_config(f"continual/digits/{name}", [f"seed={seed}"])
    assert isinstance(config, ContinualConfig)
    folder = out / f"{name}-{seed}"
    if (done := ended_run(folder, config)) is not None:
        return done
    print(f"{folder.name} ...", flush=True)
    return ContinualRun(config, folder, resume=(folder / RECORD_NAME).is_file(), watch=Watch())()


def at_end(records: Runs) -> str:
    """Rows after the last request: each learner, and an oracle below those that share it."""
    rows = []
    for label, name in RUNS.items():
        results = [record.results for record in records[name]]
        rows.append([f"{label}, {_seeds(results)}", *_cells(results, UNLEARNED, AT_END)])
        if name not in SHARED:
            rows.append([f"*oracle of {label.partition(',')[0]}*", *_cells(results, ORACLE, AT_END)])
    return table(["", *_heads(records["er"][0].results, AT_END)], rows)


def at_once(records: Runs, step: int) -> str:
    """Rows right after a request to forget: before, after, oracle."""

    def results_of(record: RunRecord) -> Sequence[Result]:
        return read_steps(record)[step - 1].results

    group = f"{step} {records['er'][0].rounds[step - 1]['request']}"
    columns: Columns = {(metric, group if of is None else of): text for (metric, of), text in AT_ONCE.items()}
    rows = []
    for label, name in RUNS.items():
        results = [results_of(record) for record in records[name]]
        for target, said in ((ORIGINAL, "before"), (UNLEARNED, "after"), (ORACLE, "oracle")):
            if target == UNLEARNED or name not in SHARED:
                rows.append([f"{label}, {said}, {_seeds(results)}", *_cells(results, target, columns)])
    return table(["", *_heads(results_of(records["er"][0]), columns)], rows)


def ends(records: Runs) -> str:
    """How the runs ended, and what learning and forgetting took in CPU seconds and steps."""
    rows = []
    for label, name in RUNS.items():
        counted = Counter(read_stream(record).verdict for record in records[name])
        said = ", ".join(f"{outcome} ({count} of {len(records[name])})" for outcome, count in counted.most_common())
        spent = [_spent(records[name], kind) for kind in ("learn", "forget")]
        rows.append([label, said, *spent])
    return table(["", "Outcome", "Five tasks", "Two requests to forget"], rows)


def _seeds(runs: Sequence[object]) -> str:
    return "1 seed" if len(runs) == 1 else f"{len(runs)} seeds"


def _spent(records: Iterable[RunRecord], kind: str) -> str:
    """Mean CPU seconds of requests of a kind, and their steps, which are those of every seed."""
    rows = [[row for row in record.rounds if row["request"].startswith(kind)] for record in records]
    seconds = sum(row["cpu_seconds"] for own in rows for row in own) / len(rows)
    return f"{seconds:.1f} s, {sum(row['steps'] for row in rows[0])} steps"


def _heads(results: Iterable[Result], columns: Columns) -> list[str]:
    """Names of columns, with the items behind a number of one seed."""
    found = {(one.name, one.group): one.n for one in results if one.target == UNLEARNED}
    return [f"{text} (n={found[column]})" if column in found else text for column, text in columns.items()]


def _cells(runs: Sequence[Sequence[Result]], target: str, columns: Columns) -> list[str]:
    return [_cell(column[0], [_find(results, target, column) for results in runs]) for column in columns]


def _find(results: Iterable[Result], target: str, column: tuple[str, str | None]) -> Result | None:
    return next((one for one in results if one.target == target and (one.name, one.group) == column), None)


def _cell(metric: str, found: Sequence[Result | None]) -> str:
    """The mean over seeds with its t-interval; of a single seed its own interval over items."""
    if all(result is None for result in found):
        return MISSING
    if len(found) == 1 and found[0] is not None:
        return format_estimate(found[0], with_n=False)
    return seeds_cell([one.value if one else None for one in found], ends=ENDS.get(metric, (0.0, 1.0))) or "-"


def main() -> None:
    """Carry out what is missing, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/continual-table"), help="folder of the runs")
    parser.add_argument("--markdown", type=Path, help="the page to put the tables into")
    parser.add_argument("--seeds", type=int, help="how many seeds of every learner")
    given = parser.parse_args()
    records = {
        name: [run(name, seed, given.out) for seed in range(given.seeds or SEEDS.get(name, 1))]
        for name in RUNS.values()
    }
    forgets = [row["step"] for row in records["er"][0].rounds if row["request"].startswith("forget")]
    blocks = {"last": at_end(records), **{f"step-{k}": at_once(records, k) for k in forgets}, "ends": ends(records)}
    for name, text in blocks.items():
        if given.markdown is None:
            print(f"{text}\n")
        else:
            replace_block(given.markdown, name, text)


if __name__ == "__main__":
    main()
