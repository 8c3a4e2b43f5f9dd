#!/usr/bin/env python
"""Generators of synthetic rows side by side on three bundled tables, and synthetic retain rows in unlearning.

    python scripts/bench/synthetic_table.py                                       # under runs/synthetic-table
    python scripts/bench/synthetic_table.py --markdown docs/results/synthetic.md

Runs that have ended in the folder are not done again, so an interrupted table goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from markdown_blocks import replace_block, table

from genunlearn.config import RunConfig, load_config
from genunlearn.records import Result, RunRecord
from genunlearn.reports.network.synthetic import comparison_table
from genunlearn.reports.numbers import format_estimate, format_number
from genunlearn.runs.api import run
from genunlearn.runs.folder import ended_run
from genunlearn.runs.network.synthetic import synthetic_config

TABLES = ("breast_cancer", "wine", "diabetes")
GENERATORS = ("bootstrap", "independent", "gaussian_copula", "vae")
FORGET = "random:0.2"
LABS = ("diabetes", "tumours")
METHODS = ("fine_tune", "retrain")
GIVEN = {
    "all": ("request.retain=all",),
    "Gaussian copula": ("request.retain=synthetic",),
    "independent": ("request.retain=synthetic", "request.generator.name=independent"),
}
QUICK = ("evaluate.attacks=[]",)


def measured(config: RunConfig, folder: Path) -> RunRecord:
    """The record of a run, carried out unless it has ended already."""
    if (done := ended_run(folder, config)) is not None:
        return done
    print(folder, flush=True)
    return run(config, out=folder, resume=(folder / "record.json").is_file())


def generators(out: Path, draws: int) -> tuple[str, list[RunRecord]]:
    """Every generator on every table."""
    blocks: list[str] = []
    records: list[RunRecord] = []
    for name in TABLES:
        asked = {"data": f"sklearn:{name}", "forget": FORGET}
        found = {}
        for method in GENERATORS:
            config = synthetic_config(asked, method=method, overrides=(f"evaluate.draws={draws}",))
            found[method] = measured(config, out / f"{name}-{method}")
        records += found.values()
        heads, rows = comparison_table(found)
        said = next(iter(found.values())).request
        counts = (
            f"{said['rows to learn from']} rows to learn from, {said['rows to forget']} of them to forget, "
            f"{said['held-out rows']} held out; {said['columns']} columns."
        )
        blocks.append(f"### {name.replace('_', ' ').capitalize()}\n\n{counts}\n\n{table(heads, rows)}")
    return "\n\n".join(blocks), records


def unlearning(out: Path, _: int) -> tuple[str, list[RunRecord]]:
    """Methods that are given the real retain items, or synthetic ones in their place."""
    heads = ["Lab", "Method", "Retain data", "TabSynDex", "Forget", "Retain", "Test"]
    rows, records = [], []
    for lab in LABS:
        for method in METHODS:
            for label, sets in GIVEN.items():
                config = load_config(f"regression/{lab}/{method}", (*sets, *QUICK))
                record = measured(config, out / f"{lab}-{method}-{label.replace(' ', '-').lower()}")
                records.append(record)
                score = record.request.get("TabSynDex of the synthetic retain rows", "")
                rows.append([lab, method, label, score, *_errors(record, "unlearned")])
        rows.append([lab, "oracles", "all", "", *_errors(records[-1], "oracle")])
    return table(heads, rows), records


def _errors(record: RunRecord, target: str) -> list[str]:
    return [_cell(record.find("mean_absolute_error", target, group)) for group in ("forget", "retain", "test")]


def _cell(result: Result | None) -> str:
    return "" if result is None else format_estimate(result, with_n=False)


def spent(records: Sequence[RunRecord]) -> str:
    """Minutes that the runs took together."""
    return format_number(sum(sum(record.cost.get("seconds", {}).values()) for record in records) / 60)


def main() -> None:
    """Carry out every run that has not ended, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markdown", type=Path, help="put the tables into this document")
    parser.add_argument("--out", type=Path, default=Path("runs/synthetic-table"), help="folder of the runs")
    parser.add_argument("--draws", type=int, default=3, help="tables that each generator makes")
    given = parser.parse_args()
    records: list[RunRecord] = []
    for name, measure in (("generators", generators), ("unlearning", unlearning)):
        text, found = measure(given.out, given.draws)
        records += found
        _put(given.markdown, name, text)
    _put(given.markdown, "time", f"The runs took {spent(records)} minutes on the clock together.")


def _put(page: Path | None, name: str, text: str) -> None:
    if page is None:
        print(f"\n{text}")
    else:
        replace_block(page, name, text)


if __name__ == "__main__":
    main()
