#!/usr/bin/env python
"""What goes and what stays: many single-fact requests on an embedded language model, every method in one table.

    python scripts/bench/scope.py                                        # 20 requests on lab:lm, over an hour on a core
    python scripts/bench/scope.py --write docs/results/lm.md             # and put the table there
    python scripts/bench/scope.py --requests 4 --methods unstar,npo      # a quick look
    python scripts/bench/scope.py --model lab:smollm2 --requests 10      # on a model that was not trained here

Every method ends once none of the questions it may train on is answered with the truth any more, or at its step or
round budget. Recall is measured on held-out phrasings, pooled over requests; intervals are 95% bootstraps over
requests (not over questions, which are not independent within a request). Each method has a process of its own, whose
peak memory is shown. The record of each finished run is kept in --out, and the run not done again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from markdown_blocks import replace_block, table
from rich.progress import track

from genunlearn.errors import GenunlearnError
from genunlearn.lab.lm.world_facts import world_of
from genunlearn.records import RECORD_NAME, RunRecord, read_record
from genunlearn.registry import METHODS
from genunlearn.runs.api import forget_config, run

GROUPS = ("forget", "forget_heldout", "same_subject", "same_object", "same_relation", "two_hop", "rest")
VARIANTS = {"unstar-no-rationale": ("unstar", ("method.rationale=false",))}
SETTINGS = ("evaluate.oracle=never", "evaluate.suite=facts", "evaluate.samples=0")
NOT_HERE = frozenset({"retrain"})
"""Methods that need what an embedded model does not give: the data it was trained on."""


def main() -> None:
    """Carry out what is missing, print the table, write it where asked."""
    every = [*VARIANTS, *(name for name in METHODS.names("lm") if name not in NOT_HERE)]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lab:lm", help="lab:lm or lab:smollm2")
    parser.add_argument("--requests", type=int, default=20, help="number of single-fact requests")
    parser.add_argument("--seed", type=int, default=0, help="which facts are drawn")
    parser.add_argument("--methods", default=",".join(sorted(every)), help="comma-separated; by default all")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="section.key=value, for all")
    parser.add_argument("--out", type=Path, default=Path("runs/scope"), help="folder of the records")
    parser.add_argument("--write", type=Path, help="Markdown file whose block of the model's name is replaced")
    arguments = parser.parse_args()
    lab = arguments.model.removeprefix("lab:")
    names = arguments.methods.split(",")
    if unknown := sorted({*names} - {*every}):
        parser.error(f"unknown methods {', '.join(unknown)}; known: {', '.join(sorted(every))}")
    facts = random.Random(arguments.seed).sample([t.id for t in world_of(lab).triples], arguments.requests)
    records: dict[str, list[RunRecord]] = {}
    refused: dict[str, str] = {}
    for name in names:
        places = [arguments.out / lab / name / fact for fact in facts]
        if all((place / RECORD_NAME).is_file() for place in places):
            records[name] = [read_record(place) for place in places]
            continue
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            job = process.submit(runs_of, name, arguments.model, facts, arguments.overrides, arguments.out / lab)
            try:
                records[name] = job.result()
            except GenunlearnError as error:
                refused[name] = str(error)
                print(f"{name}: {error}", flush=True)
    text = "\n\n".join([rows(records), *(f"`{name}`: {reason}." for name, reason in refused.items())])
    print(text)
    if arguments.write:
        replace_block(arguments.write, lab, text)


def runs_of(name: str, model: str, facts: Sequence[str], overrides: Sequence[str], out: Path) -> list[RunRecord]:
    """One method on every fact."""
    return [one_run(name, model, fact, overrides, out) for fact in track(facts, name)]


def one_run(name: str, model: str, fact: str, overrides: Sequence[str], out: Path) -> RunRecord:
    """The record of one run without oracle and sampling, done now if it is not there yet; its weights are dropped."""
    kept = out / name / fact
    if not (kept / RECORD_NAME).is_file():
        method, own = VARIANTS.get(name, (name, ()))
        if METHODS.get(method, "lm").needs.full_weights:
            own = ("parameters.kind=full",)
        known = f"controls={out / 'controls'}"  # what the original answers is the same for all methods
        config = forget_config(model, {"facts": [fact]}, method=method, overrides=[*SETTINGS, known, *own, *overrides])
        with tempfile.TemporaryDirectory() as folder:
            run(config, out=folder)
            kept.mkdir(parents=True, exist_ok=True)
            shutil.move(Path(folder, RECORD_NAME), kept / RECORD_NAME)
    return read_record(kept)


def rows(records: dict[str, list[RunRecord]]) -> str:
    """Methods in rows; in columns recall of each group, extraction strength of the fact, what it took."""
    first = next(iter(records.values()))
    count = {group: sum(r.n or 0 for run in first if (r := run.find("recall", "original", group))) for group in GROUPS}
    header = ["method", *(f"{group} (n={count[group]})" for group in GROUPS), "extraction strength"]
    header += ["ended forgotten", "steps", "CPU seconds", "peak MB"]
    lines = [["original", *cells(first, "original"), "", "", "", ""]]
    for name, runs in records.items():
        done = sum(record.outcome == "forgotten" for record in runs)
        steps = np.array([record.cost["steps"] for record in runs])
        seconds = np.array([record.cost["unlearning_cpu_seconds"] for record in runs])
        memory = max(record.cost["peak_memory_mb"] for record in runs)
        took = [f"{done}/{len(runs)}", f"{steps.mean():.0f}", f"{seconds.mean():.1f}", f"{memory:,.0f}"]
        lines.append([name, *cells(runs, "unlearned"), *took])
    return table(header, lines)


def cells(runs: Sequence[RunRecord], target: str) -> list[str]:
    """Recall by group, and extraction strength on held-out phrasings."""
    return [*(pooled(runs, "recall", group, target) for group in GROUPS),
            pooled(runs, "extraction_strength", "forget_heldout", target)]  # fmt: skip


def pooled(runs: Sequence[RunRecord], metric: str, group: str, target: str) -> str:
    """The mean over all questions of all requests, with a bootstrap interval over requests."""
    found = [r for record in runs if (r := record.find(metric, target, group)) is not None]
    known = [(r.value, r.n) for r in found if r.value is not None and r.n]
    if not known:
        return "-"
    total, asked = np.array([value * n for value, n in known]), np.array([n for _, n in known])
    picks = np.random.default_rng(0).integers(0, len(known), size=(2000, len(known)))
    low, high = np.percentile(total[picks].sum(1) / asked[picks].sum(1), [2.5, 97.5])
    return f"{total.sum() / asked.sum():.3f} [{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    main()
