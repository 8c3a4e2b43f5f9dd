#!/usr/bin/env python
"""What goes and what stays: many single-fact requests on an embedded language model, every method in one table.

    python scripts/bench/scope.py                                        # 20 requests on lab:lm, over an hour on a core
    python scripts/bench/scope.py --write docs/results/lm.md             # and put the table there
    python scripts/bench/scope.py --requests 4 --methods unstar,npo      # a quick look
    python scripts/bench/scope.py --model lab:smollm2 --requests 10 --jobs 2   # on a model that was not trained here
    python scripts/bench/scope.py --known --rows FILE                    # the table of what is on file

Every method ends once none of the questions it may train on is answered with the truth any more, or at its step or
round budget. Recall is measured on held-out phrasings, pooled over requests; intervals are 95% bootstraps over
requests (not over questions, which are not independent within a request), and exact ones where all requests agree. Each
method has a process of its own, whose peak memory is shown. The record of each finished run is kept in --out and its
numbers in --rows; what stands in one of them is not done again.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import random
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from markdown_blocks import replace_block, table

from genunlearn.errors import GenunlearnError
from genunlearn.lab.lm.world_facts import world_of
from genunlearn.ops.intervals import share
from genunlearn.records import RECORD_NAME, RunRecord, hash_json, read_record, replacing
from genunlearn.registry import METHODS
from genunlearn.runs.api import forget_config, run

GROUPS = ("forget", "forget_heldout", "same_subject", "same_object", "same_relation", "two_hop", "rest")
VARIANTS = {"unstar-no-rationale": ("unstar", ("method.rationale=false",))}
SETTINGS = ("evaluate.oracle=never", "evaluate.suite=facts", "evaluate.samples=0")
NOT_HERE = frozenset({"retrain"})
"""Methods that need what an embedded model does not give: the data it was trained on."""
ORIGINAL = "original"
STRENGTH = "extraction strength"
WHAT = ("model", "settings", "method", "fact")
"""What a line of numbers is of; before unlearning the method is `ORIGINAL`."""

Line = dict[str, str]
"""The numbers of one run as they stand in a file: empty where there is none."""


def main() -> None:
    """Carry out what is missing, print the table, write it where asked."""
    every = [*VARIANTS, *(name for name in METHODS.names("lm") if name not in NOT_HERE)]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lab:lm", help="lab:lm or lab:smollm2")
    parser.add_argument("--requests", type=int, default=20, help="number of single-fact requests")
    parser.add_argument("--seed", type=int, default=0, help="which facts are drawn")
    parser.add_argument("--methods", default=",".join(sorted(every)), help="comma-separated; by default all")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="section.key=value, for all")
    parser.add_argument("--jobs", type=int, default=1, help="methods at a time, a core each")
    parser.add_argument("--out", type=Path, default=Path("runs/scope"), help="folder of the records")
    parser.add_argument("--rows", type=Path, help="CSV file of every run's numbers, read first and then written")
    parser.add_argument("--known", action="store_true", help="show what is in --rows, of each method, and run nothing")
    parser.add_argument("--write", type=Path, help="Markdown file whose block of the model's name is replaced")
    arguments = parser.parse_args()
    lab = arguments.model.removeprefix("lab:")
    names = arguments.methods.split(",")
    if unknown := sorted({*names} - {*every}):
        parser.error(f"unknown methods {', '.join(unknown)}; known: {', '.join(sorted(every))}")
    if arguments.known and not (arguments.rows and arguments.rows.is_file()):
        parser.error("--known shows what is in --rows: name a file that there is")
    facts = random.Random(arguments.seed).sample([t.id for t in world_of(lab).triples], arguments.requests)
    board = Board(arguments.model, facts, tuple(arguments.overrides), arguments.out, arguments.rows)
    refused = {} if arguments.known else board.fill(names, arguments.jobs)
    shown = [name for name in names if name not in refused and board.lines(name)]
    if arguments.known and not shown:
        parser.error(f"none of {', '.join(names)} stands in {arguments.rows} with this model and these settings")
    lines = {name: board.lines(name) for name in (ORIGINAL, *shown)} if shown else {}
    text = "\n\n".join([*([rows(lines)] if lines else []), *(f"`{name}`: {why}." for name, why in refused.items())])
    print(text)
    if arguments.write:
        replace_block(arguments.write, lab, text)


class Board:
    """The numbers of all runs on some facts, as far as there are any.

    Attributes:
        model: What is to forget.
        facts: One request each.
        overrides: Settings that all methods share.
        out: Folder of the records.
        path: File of the numbers, or None.
    """

    def __init__(
        self, model: str, facts: Sequence[str], overrides: tuple[str, ...], out: Path, path: Path | None
    ) -> None:
        """Read what the file has."""
        self.model, self.facts, self.overrides, self.path = model, facts, overrides, path
        self.settings = " ".join(overrides)
        lab = model.removeprefix("lab:")
        self.out = out / (f"{lab}-{hash_json(overrides)[:8]}" if overrides else lab)
        self._known = read_lines(path) if path else {}

    def fill(self, names: Sequence[str], jobs: int) -> dict[str, str]:
        """Carry out what is missing, `jobs` methods at a time; the reasons of methods that cannot be."""
        refused: dict[str, str] = {}
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(jobs, spawn, one_thread, max_tasks_per_child=1) as pool:
            pending = {
                name: pool.submit(runs_of, name, self.model, missing, self.overrides, self.out)
                for name in names
                if (missing := [fact for fact in self.facts if self._key(name, fact) not in self._known])
            }
            for name, job in pending.items():
                try:
                    self._keep(job.result())
                except GenunlearnError as error:
                    refused[name] = str(error)
                    print(f"{name}: {error}", flush=True)
        return refused

    def lines(self, name: str) -> list[Line]:
        """The numbers of a method on the facts that it has any of."""
        return [self._known[key] for fact in self.facts if (key := self._key(name, fact)) in self._known]

    def _key(self, name: str, fact: str) -> tuple[str, ...]:
        return self.model, self.settings, name, fact

    def _keep(self, lines: Sequence[Line]) -> None:
        for line in lines:
            key = self._key(line["method"], line["fact"])
            self._known[key] = dict(zip(WHAT, key, strict=True)) | line
        if self.path:
            self._known = read_lines(self.path) | self._known  # another process may have added to it meanwhile
            write_lines(self.path, self._known)


# ---- the runs ---------------------------------------------------------------------------------------------------


def one_thread() -> None:
    """Processes that share the cores get one each."""
    torch.set_num_threads(1)


def runs_of(name: str, model: str, facts: Sequence[str], overrides: Sequence[str], out: Path) -> list[Line]:
    """The numbers of one method on every fact, and those of the original."""
    found = []
    for fact in facts:
        record = one_run(name, model, fact, overrides, out)
        print(f"{name}, {fact}: {record.outcome} after {record.cost['steps']} steps", flush=True)
        found += [numbers(record, ORIGINAL, fact, "original"), numbers(record, name, fact, "unlearned")]
    return found


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


# ---- their numbers ----------------------------------------------------------------------------------------------


def numbers(record: RunRecord, method: str, fact: str, target: str) -> Line:
    """What the table is made of, of one run: each measured share with the number of its questions."""
    asked = [(group, record.find("recall", target, group)) for group in GROUPS]
    asked.append((STRENGTH, record.find("extraction_strength", target, "forget_heldout")))
    line: dict[str, Any] = {"method": method, "fact": fact}
    for name, result in asked:
        line[name] = "" if result is None or result.value is None else round(result.value, 6)
        line[f"{name} n"] = "" if result is None or not result.n else result.n
    if target != "original":
        line |= {"outcome": record.outcome, "steps": record.cost["steps"]}
        line |= {"seconds": record.cost["unlearning_cpu_seconds"], "peak MB": record.cost["peak_memory_mb"]}
    return {name: str(value) for name, value in line.items()}


def read_lines(path: Path) -> dict[tuple[str, ...], Line]:
    """The lines of a file; none where there is no such file yet."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {tuple(line[name] for name in WHAT): line for line in csv.DictReader(file)}


def write_lines(path: Path, known: Mapping[tuple[str, ...], Line]) -> None:
    """All lines, sorted, so that a file that grows shows what came to it."""
    shares = [column for name in (*GROUPS, STRENGTH) for column in (name, f"{name} n")]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*WHAT, *shares, "outcome", "steps", "seconds", "peak MB"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(known[key] for key in sorted(known))


# ---- the table --------------------------------------------------------------------------------------------------


def rows(lines: Mapping[str, Sequence[Line]]) -> str:
    """Methods in rows; in columns recall of each group, extraction strength of the fact, what it took."""
    first = lines[ORIGINAL]
    count = {group: sum(int(line[f"{group} n"] or 0) for line in first) for group in GROUPS}
    header = ["method", *(f"{group} (n={count[group]})" for group in GROUPS), STRENGTH]
    header += ["ended forgotten", "steps", "CPU seconds", "peak MB"]
    return table(header, [[name, *cells(runs), *took(runs)] for name, runs in lines.items()])


def cells(runs: Sequence[Line]) -> list[str]:
    """Recall by group, and extraction strength on held-out phrasings."""
    return [pooled(runs, name) for name in (*GROUPS, STRENGTH)]


def took(runs: Sequence[Line]) -> list[str]:
    """How many runs ended forgotten, their mean steps and seconds, the most memory; nothing of the original."""
    if runs[0]["method"] == ORIGINAL:
        return [""] * 4
    done = sum(line["outcome"] == "forgotten" for line in runs)
    steps, seconds, memory = (
        np.array([float(line[name]) for line in runs]) for name in ("steps", "seconds", "peak MB")
    )
    return [f"{done}/{len(runs)}", f"{steps.mean():.0f}", f"{seconds.mean():.1f}", f"{memory.max():,.0f}"]


def pooled(runs: Sequence[Line], name: str) -> str:
    """The mean over all questions of all requests, with a bootstrap interval over requests.

    Where they all agree resampling finds nothing else, and the interval is the exact one: of the requests where nothing
    or all is told, of the questions otherwise and of a single request. One request's mean strength, no count, has none.
    """
    known = [(float(line[name]), int(line[f"{name} n"])) for line in runs if line[name] and line[f"{name} n"]]
    if not known:
        return "-"
    total, asked = np.array([value * n for value, n in known]), np.array([n for _, n in known])
    value, found = float(total.sum() / asked.sum()), {rate for rate, _ in known}
    if len(found) == 1 and not found <= {0.0, 1.0} and name == STRENGTH:
        return f"{value:.3f}"
    if len(found) == 1:
        count = len(known) if len(known) > 1 and found <= {0.0, 1.0} else int(asked.sum())
        _, low, high = share(round(value * count), count)
    else:
        picks = np.random.default_rng(0).integers(0, len(known), size=(2000, len(known)))
        low, high = np.percentile(total[picks].sum(1) / asked[picks].sum(1), [2.5, 97.5])
    return f"{value:.3f} [{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    main()
