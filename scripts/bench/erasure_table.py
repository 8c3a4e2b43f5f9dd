#!/usr/bin/env python
"""Every erasure method on lab:diffusion: three digits and one style, beside original and oracle.

    python scripts/bench/erasure_table.py                             # about 50 minutes on two cores
    python scripts/bench/erasure_table.py --write docs/erasure.md     # and put the table there
    python scripts/bench/erasure_table.py --methods uce,esd --concepts "digit seven"

Runs are kept in --out, one folder a concept and method, and not done again; each concept also gets a comparison with
images there. Oracles, which never saw the concept, are built on first use (about five minutes each). Shares are pooled
over concepts; intervals are exact ones of the pooled share.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

from markdown_blocks import replace_block, table
from rich.progress import track

from genunlearn.config import list_configs
from genunlearn.errors import GenunlearnError
from genunlearn.ops import intervals
from genunlearn.records import COMPLETED, RECORD_NAME, RunRecord, read_record
from genunlearn.reports.diffusion.report import write_comparison
from genunlearn.runs.api import erase_config, run

CONCEPTS = ("digit seven", "digit three", "digit one", "style red")
METHODS = tuple(name.rpartition("/")[2] for name in list_configs() if name.startswith("diffusion/lab/"))
HELD_OUT = ", held-out prompts"
Runs = Mapping[str, Mapping[str, RunRecord]]
"""Records by concept and method."""


def main() -> None:
    """Carry out what is missing, print the table, write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default=",".join(METHODS), help="comma-separated names of lab configurations")
    parser.add_argument("--concepts", default=",".join(CONCEPTS), help="comma-separated concepts of the lab")
    parser.add_argument("--images", type=int, default=16, help="images of a concept in each set of prompts")
    parser.add_argument("--out", type=Path, default=Path("runs/erasure-table"), help="folder of the runs")
    parser.add_argument("--write", type=Path, help="Markdown file whose block 'table' is replaced")
    arguments = parser.parse_args()
    methods, concepts = arguments.methods.split(","), arguments.concepts.split(",")
    runs: dict[str, dict[str, RunRecord]] = {}
    for concept in concepts:
        folder = arguments.out / concept.replace(" ", "-")
        runs[concept] = {
            name: one_run(name, concept, folder / name, arguments.images, with_oracle=name == methods[0])
            for name in track(methods, concept)
        }
        write_comparison(runs[concept], folder)
    text = table(HEADER + [f"UA, {concept}" for concept in concepts] + COSTS, rows(runs))
    print(text)
    if arguments.write:
        replace_block(arguments.write, "table", text)


def one_run(name: str, concept: str, folder: Path, images: int, *, with_oracle: bool) -> RunRecord:
    """The record of one run, carried out now if it is not there yet; a run that fails is part of the table."""
    if (folder / RECORD_NAME).is_file() and (record := read_record(folder)).status == COMPLETED:
        return record
    overrides = [
        f"evaluate.images={images}",
        "evaluate.suite=images-quick",
        f"evaluate.oracle={'auto' if with_oracle else 'never'}",
    ]
    config = erase_config("lab:diffusion", [concept], method=name, overrides=overrides)
    try:
        return run(config, out=folder, resume=folder.exists())
    except GenunlearnError:
        if not (folder / RECORD_NAME).is_file():
            raise
        return read_record(folder)


# ---- the table --------------------------------------------------------------------------------------------------

HEADER = ["model", "UA", "UA, held-out prompts", "IRA", "CRA"]
COSTS = ["seconds", "teacher forwards"]


def rows(runs: Runs) -> list[list[str]]:
    """Original, oracle, then every method."""
    concepts = list(runs)
    first = {concept: next(iter(records.values())) for concept, records in runs.items()}
    methods = list(next(iter(runs.values())))
    lines = [line("original", "original", first, concepts), line("oracle", "oracle", first, concepts)]
    for name in methods:
        records = {concept: runs[concept][name] for concept in concepts}
        cost = [record.cost for record in records.values()]
        seconds = mean(entry["seconds"].get("unlearn", 0.0) for entry in cost)
        forwards = mean(entry["unlearning_work"]["forwards"]["frozen"] for entry in cost)
        lines.append([*line(name, "unlearned", records, concepts)[:-2], f"{seconds:.1f}", f"{forwards:.0f}"])
    return lines


def line(label: str, target: str, records: Mapping[str, RunRecord], concepts: Sequence[str]) -> list[str]:
    """One model: shares pooled over concepts, then UA concept by concept."""
    pooled = [
        share(records, name, target, suffix)
        for name, suffix in (("ua", ""), ("ua", HELD_OUT), ("ira", ""), ("cra", ""))
    ]
    own = [record.find("ua", target, concept) for concept, record in records.items()]
    return [label, *pooled, *(f"{r.value:.2f}" if r and r.value is not None else "-" for r in own), "", ""]


def share(records: Mapping[str, RunRecord], name: str, target: str, suffix: str) -> str:
    """A share over all concepts with its exact interval."""
    found = [r for c, record in records.items() if (r := record.find(name, target, c + suffix)) and r.value is not None]
    if not found:
        return "-"
    n = sum(result.n for result in found)
    value, low, high = intervals.share(round(sum((result.value or 0.0) * result.n for result in found)), n)
    return f"{value:.2f} [{low:.2f}, {high:.2f}] (n={n})"


if __name__ == "__main__":
    main()
