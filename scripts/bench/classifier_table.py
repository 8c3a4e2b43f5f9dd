#!/usr/bin/env python
"""Every method beside the oracles: a digit, a sub-class and random items of lab:digits, ranges of two regression labs.

    python scripts/bench/classifier_table.py                       # the report, under runs/classifier-table
    python scripts/bench/classifier_table.py --markdown docs/results/classifier.md

The methods run with the settings of their shipped configurations, which were chosen for the first request of each lab
and stay as they are for the others. A method that does not fit a request is left out, with its reason. At most ten
minutes on two cores, once the labs' networks are built.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

from genunlearn import RunRecord, load_config, run
from genunlearn.config import list_configs
from genunlearn.errors import NeedNotMet
from genunlearn.records import write_text
from genunlearn.registry import RUNS
from genunlearn.reports.cells import Column
from genunlearn.reports.network.compare import COMPARISON
from genunlearn.reports.network.reading import GROUPS, main_metric, words_of

REQUESTS = (
    ("classifier/digits", "class:3"),
    ("classifier/digits", "subclass:4"),
    ("classifier/digits", "random:0.1"),
    ("regression/diabetes", "range:..75"),
    ("regression/tumours", "range:22.."),
)
BESIDE: tuple[Column, ...] = (
    ("oracle_gap", "mean"),
    ("tow", None),
    ("wasserstein", "forget"),
    ("mia_matched", "matched"),
    ("relearning_accuracy", "step 5"),
    ("relearning_loss", "step 5"),
)
"""What stands in the document beside the main metric; the report has everything."""
ATTACKS = {
    "classifier": "[mia_entropy, mia_loss, mia_matched, {name: relearning, steps: 20}]",
    "regression": "[mia_loss, mia_matched, {name: relearning, steps: 20}]",
}
"""Relearning takes most of the time, and 20 updates show the difference."""

INTRODUCTION = """# Classifiers and regressors: every method beside the oracles

    python scripts/bench/classifier_table.py --markdown docs/results/classifier.md

writes this page anew and, under `runs/classifier-table`, `compare.html` with plots, ZRF, activation distance and the
published membership attacks. Here {runs} runs took {cpu:.1f} minutes of CPU time, and {minutes:.1f} minutes on the
clock with {jobs} processes on two cores{busy}.

Each cell holds a value and its 95% interval: exact for accuracy, bootstrap for errors, DeLong for the area under the
curve. **Before** is the original, **Oracle** the mean over three networks of other seeds that were trained without the
forget set, with a t-interval over them; where the three agree to the last item it has no width. The aim is the oracle's
row, not a low or a high number. Settings are those of the shipped configurations. They were chosen by hand for the
first request of each lab, on the sets that are shown, and not adapted to the others; one run a method, seed 0. Time is
CPU time in one thread, without evaluation, and the speed-up is over `Retrain` of the same table.

*Mean gap* is the mean size of the gaps to the oracles on forget, retain and test; *ToW* is 1 for a network as accurate
as an oracle everywhere, and its n counts oracles; *matched AUC* tells the forget set from unseen items of its kind by
the loss (0.5 is chance, the oracle's value is what can be reached); the last column shows unseen items of the forget
set's kind after five updates on the forget set, where a high accuracy, or a low loss, beside the oracle's says that
something was left.
"""


@dataclass(frozen=True)
class Job:
    """One run."""

    config: str
    forget: str
    folder: Path

    @property
    def method(self) -> str:
        """Name of the method."""
        return self.config.rpartition("/")[2]


def main() -> None:
    """Run every method on every request, compare, and write the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/classifier-table"), help="folder of runs and report")
    parser.add_argument("--markdown", type=Path, help="write the tables here")
    parser.add_argument("--methods", default="", help="comma-separated; all if empty")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    arguments = parser.parse_args()

    start = time.monotonic()
    chosen = {name.strip() for name in arguments.methods.split(",") if name.strip()}
    jobs, refused = plan(arguments.out, chosen)
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        records = {str(job.folder): record for job, record in zip(jobs, pool.map(carry_out, jobs), strict=True)}
    records = beside_retraining(records)
    page = COMPARISON.write(records, arguments.out)
    minutes = (time.monotonic() - start) / 60
    print(f"{len(jobs)} runs in {minutes:.1f} minutes; comparison: {page}")
    if arguments.markdown:
        cpu = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = (cpu.ru_utime + cpu.ru_stime) / 60
        busy = " that other work shared" if used < 0.8 * minutes * arguments.jobs else ""
        head = INTRODUCTION.format(runs=len(jobs), minutes=minutes, cpu=used, jobs=arguments.jobs, busy=busy)
        write_text(arguments.markdown, f"{head}\n{tables(records, refused)}")


def plan(out: Path, chosen: set[str]) -> tuple[list[Job], dict[str, dict[str, list[str]]]]:
    """The runs, and by request and reason the methods that are left out."""
    jobs: list[Job] = []
    refused: dict[str, dict[str, list[str]]] = {}
    for suite, forget in REQUESTS:
        name = f"{suite.rpartition('/')[2]}-{forget.replace(':', '-').replace('..', '_')}"
        for config in (name for name in list_configs() if name.startswith(f"{suite}/")):
            job = Job(config, forget, out / name / config.rpartition("/")[2])
            if chosen and job.method not in chosen:
                continue
            settings = load_config(config, [f"request.forget={forget}"])
            try:
                RUNS.get(settings.task).check(settings)
                jobs.append(job)
            except NeedNotMet as error:
                why = str(error).removeprefix(f"method {job.method!r} ")
                reasons = refused.setdefault(f"{forget} on {settings.model.source}", {})
                reasons.setdefault(why, []).append(job.method)
    return jobs, refused


def carry_out(job: Job) -> RunRecord:
    """One run, with its report."""
    attacks = ATTACKS[job.config.partition("/")[0]]
    record = run(job.config, out=job.folder, overrides=[f"request.forget={job.forget}", f"evaluate.attacks={attacks}"])
    print(f"{job.forget:12} {job.method:18} {record.outcome}", flush=True)
    return record


def beside_retraining(records: Mapping[str, RunRecord]) -> dict[str, RunRecord]:
    """Speed-ups over the retraining of the same table: that of the lab was timed when it was built."""
    found = {}
    for folder, record in records.items():
        retrained = records.get(str(Path(folder).with_name("retrain")), RunRecord(config={}))
        its, own = (each.cost.get("unlearning_cpu_seconds") for each in (retrained, record))
        cost = {**record.cost, "speed_up_over_retraining": its / own if its and own else None}
        found[folder] = replace(record, cost=cost)
    return found


def tables(records: Mapping[str, RunRecord], refused: Mapping[str, Mapping[str, Sequence[str]]]) -> str:
    """One table of numbers and one of outcomes and cost for each request, in Markdown."""
    parts: list[str] = []
    for section in COMPARISON.sections_of(records):
        name = main_metric(section.first)
        columns = [column for column in section.columns if column in {*((name, group) for group in GROUPS), *BESIDE}]
        parts += [
            f"## {section.title}",
            f"{words_of(name).label} on forget, retain and test: {words_of(name).meaning}.",
        ]
        parts += [COMPARISON.markdown_table(section, columns), COMPARISON.run_rows(section).markdown]
        parts += [f"{label}: {note}." for label, record in section.runs.items() for note in on_collapse(record)]
        for reason, methods in refused.get(section.title, {}).items():
            parts.append(f"Left out: {', '.join(methods)} ({reason}).")
    return "\n\n".join(parts) + "\n"


def on_collapse(record: RunRecord) -> list[str]:
    """What a run says of its collapse, and of the strength that would have been safe."""
    return [note for note in record.notes if note.startswith("collapsed: ")]


if __name__ == "__main__":
    main()
