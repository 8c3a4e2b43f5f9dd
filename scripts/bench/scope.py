#!/usr/bin/env python
"""What goes and what stays: many single-fact requests on lab:lm, every method stopped at the same forget level.

    python scripts/bench/scope.py                    # 20 requests, about 25 minutes on two cores
    python scripts/bench/scope.py --requests 4       # a quick look

Every method ends once none of the questions it may train on is answered with the truth any more, or at its step or
round budget. Recall is measured on held-out phrasings, pooled over requests; intervals are 95% bootstraps over
requests (not over questions, which are not independent within a request).
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from genunlearn import RunRecord, load_config, run
from genunlearn.lab.lm.world import load_world

GROUPS = ("forget", "forget_heldout", "same_subject", "same_object", "same_relation", "two_hop", "rest")
METHODS = {
    "unstar": ("lm/lab/unstar", ()),
    "unstar-no-rationale": ("lm/lab/unstar", ("method.rationale=false",)),
    "grad_ascent": ("lm/lab/grad_ascent", ()),
    "grad_diff": ("lm/lab/grad_diff", ()),
    "npo": ("lm/lab/npo", ()),
    "idk_dpo": ("lm/lab/idk_dpo", ()),
    "sim_npo": ("lm/lab/sim_npo", ()),
    "undial": ("lm/lab/undial", ()),
    "wga": ("lm/lab/wga", ()),
    "sat_imp": ("lm/lab/sat_imp", ()),
    "ceu": ("lm/lab/ceu", ()),
    "jens_un": ("lm/lab/jens_un", ()),
    "inverted_hinge": ("lm/lab/inverted_hinge", ()),
    "flat": ("lm/lab/flat", ()),
    "rmu": ("lm/lab/rmu", ()),
    "sam_npo": ("lm/lab/sam_npo", ()),
    "lat": ("lm/lab/lat", ()),
    "alt_po": ("lm/lab/alt_po", ()),
    "rwhp": ("lm/lab/rwhp", ()),
    "whp": ("lm/lab/whp", ()),
    "elm": ("lm/lab/elm", ()),
    "pdu": ("lm/lab/pdu", ()),
    "task_vector": ("lm/lab/task_vector", ()),
    "lunar": ("lm/lab/lunar", ()),
    "rome": ("lm/lab/rome", ()),
    "memit": ("lm/lab/memit", ()),
    "alpha_edit": ("lm/lab/alpha_edit", ()),
    "neg_grad_plus": ("lm/lab/neg_grad_plus", ()),
    "random_labels": ("lm/lab/random_labels", ()),
    "delete": ("lm/lab/delete", ()),
    "salun_labels": ("lm/lab/salun_labels", ()),
    "ssd": ("lm/lab/ssd", ()),
    "fine_tune": ("lm/lab/fine_tune", ()),
    "fine_tune_l2": ("lm/lab/fine_tune_l2", ()),
}


def main() -> None:
    """Run every method on every request, print the table, write the numbers as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20, help="number of single-fact requests")
    parser.add_argument("--seed", type=int, default=0, help="which facts are drawn")
    parser.add_argument("--methods", default=",".join(METHODS), help="comma-separated, from the list above")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="section.key=value, for all")
    parser.add_argument("--json", type=Path, help="write all numbers here")
    arguments = parser.parse_args()

    facts = random.Random(arguments.seed).sample([t.id for t in load_world().triples], arguments.requests)
    names = [name.strip() for name in arguments.methods.split(",")]
    if unknown := [name for name in names if name not in METHODS]:
        parser.error(f"unknown methods {unknown}; known: {', '.join(METHODS)}")
    records = {name: [one_run(name, fact, arguments.overrides) for fact in track(facts, name)] for name in names}
    console = Console(width=170)
    console.print(table(records))
    if arguments.json:
        arguments.json.write_text(json.dumps({name: rows(runs) for name, runs in records.items()}, indent=1))


def one_run(name: str, fact: str, overrides: list[str]) -> RunRecord:
    """One method on one fact, without oracle and sampling."""
    source, own = METHODS[name]
    fixed = [f'request.facts=["{fact}"]', "evaluate.oracle=never", "evaluate.suite=facts-quick", "evaluate.samples=0"]
    with tempfile.TemporaryDirectory() as folder:
        return run(load_config(source, [*fixed, *own, *overrides]), out=folder)


def rows(runs: list[RunRecord]) -> list[dict]:
    """Plain numbers of each run."""
    return [
        {
            "fact": record.request["facts"][0]["id"],
            "outcome": record.outcome,
            "steps": record.cost["steps"],
            "seconds": record.cost["seconds"]["unlearn"],
            "recall": {r.group: [round(r.value * r.n), r.n] for r in record.results if r.target == "unlearned" and r.n},
        }
        for record in runs
    ]


def table(records: dict[str, list[RunRecord]]) -> Table:
    """Methods in rows, scope groups in columns."""
    view = Table("method", *GROUPS, "forgotten", "steps", "seconds")
    first = next(iter(records.values()))
    view.add_row("original", *(pooled(first, group, "original") for group in GROUPS), "", "", "", end_section=True)
    for name, runs in records.items():
        done = sum(record.outcome == "forgotten" for record in runs)
        steps = np.array([record.cost["steps"] for record in runs])
        seconds = np.array([record.cost["seconds"]["unlearn"] for record in runs])
        view.add_row(
            name,
            *(pooled(runs, group, "unlearned") for group in GROUPS),
            f"{done}/{len(runs)}",
            f"{steps.mean():.0f} (max {steps.max()})",
            f"{seconds.mean():.1f} (max {seconds.max():.1f})",
        )
    return view


def pooled(runs: list[RunRecord], group: str, target: str) -> str:
    """Recall over all questions of all requests, with a bootstrap interval over requests."""
    found = [r for record in runs if (r := record.find("recall", target, group)) is not None and r.n]
    if not found:
        return "-"
    right = np.array([r.value * r.n for r in found])
    asked = np.array([r.n for r in found])
    picks = np.random.default_rng(0).integers(0, len(found), size=(2000, len(found)))
    low, high = np.percentile(right[picks].sum(1) / asked[picks].sum(1), [2.5, 97.5])
    return f"{right.sum() / asked.sum():.3f} [{low:.2f}, {high:.2f}]\nn={asked.sum()}"


if __name__ == "__main__":
    main()
