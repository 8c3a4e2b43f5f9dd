"""The reports of learners of tasks: what is known and what is gone after every request of a stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genunlearn.errors import DataError
from genunlearn.records import Result, RunRecord
from genunlearn.reports import style
from genunlearn.reports.cells import Cell, as_cell, named_records
from genunlearn.reports.headline import Headline, Tone, unfinished
from genunlearn.reports.marks import model_marks, point, spoken_value
from genunlearn.reports.numbers import format_estimate, format_number
from genunlearn.reports.parts import cautions_of, check_any, run_table, write_report_page, write_table
from genunlearn.reports.plots import Mark, Plot, curve_plot
from genunlearn.reports.reporter import Reporter
from genunlearn.reports.wording import ORACLE, ORIGINAL, UNLEARNED

if TYPE_CHECKING:
    from rich.console import Console

ABOUT = (
    "Each run after the last request that it carried out, and below it its oracle: a learner of the same kind that "
    "went through the stream without what is forgotten."
)
LIMITS = (
    "One stream, one seed: another order of tasks and requests may end otherwise. Intervals are over items alone.",
    "The oracle is a learner of the same kind and another seed that never had what is forgotten. It need not be the "
    "better learner: what it does on the forgotten set is the aim, and what it knows a comparison.",
    "A class without an output that wins is at accuracy 0 whether it is forgotten or merely overlaid: ZRF, activation "
    "distance and membership say more.",
)
VERDICTS = {
    "forgotten": (Tone.GOOD, "Forgotten on request"),
    "not_forgotten": (Tone.BAD, "Not everything is forgotten"),
    "undecided": (Tone.NEUTRAL, "Not told; for some of it that shows no forgetting"),
    "collapsed": (Tone.BAD, "What was to be known has collapsed"),
    "learnt": (Tone.NEUTRAL, "Learnt; nothing was to be forgotten"),
    "trained": (Tone.NEUTRAL, "Carried out; no oracle to compare with"),
}
STREAM = (
    ("accuracy", "test", "Known classes"),
    ("accuracy", "forget", "Forgotten items"),
    ("forgetting", None, "Forgetting"),
    ("backward_transfer", None, "Backward transfer"),
    ("forward_transfer", None, "Forward transfer"),
)
GONE = (
    ("accuracy", "forget", "Accuracy on all that is forgotten"),
    ("accuracy", "forgotten classes", "Accuracy on unseen items of forgotten classes"),
    ("zrf", "forget", "ZRF"),
    ("activation_distance", "forget", "Activation distance from the oracle, forgotten items"),
    ("activation_distance", "test", "Activation distance from the oracle, known classes"),
    ("mia_matched", "matched", "Membership, matched AUC"),
    ("mia_matched_accuracy", "matched", "Membership, matched accuracy"),
    ("mia_entropy", "forget", "Membership, SVM of entropy"),
)
TARGETS = ((ORIGINAL, "before"), (UNLEARNED, "after"), (ORACLE, "oracle"))
KNOWN = {field.name for field in fields(Result)}


@dataclass(frozen=True)
class Step:
    """A request of the stream, and what was measured after it."""

    number: int
    request: str
    results: tuple[Result, ...]

    @property
    def is_forgetting(self) -> bool:
        """Whether it was a request to forget."""
        return self.request.startswith("forget")

    def find(self, name: str, target: str, group: str | None) -> Result | None:
        """The result of this name, target and group, or None."""
        return next((r for r in self.results if (r.name, r.target, r.group) == (name, target, group)), None)


@dataclass(frozen=True)
class GoneTable:
    """What became of a request to forget: a metric a row, and a cell for each model."""

    title: str
    lines: tuple[tuple[str, tuple[Cell, ...]], ...]


def read_steps(record: RunRecord) -> tuple[Step, ...]:
    """The requests of a record; what is no result is left out."""
    found = []
    for number, row in enumerate(record.rounds, start=1):
        rows = row.get("results")
        results = tuple(Result(**one) for one in rows if _is_result(one)) if isinstance(rows, list) else ()
        found.append(Step(number, str(row.get("request") or f"request {number}"), results))
    return tuple(found)


def _is_result(row: Any) -> bool:
    if not isinstance(row, dict) or not {"name", "target", "value"} <= row.keys() <= KNOWN:
        return False
    numbers = all(row.get(key) is None or type(row[key]) in (int, float) for key in ("value", "low", "high"))
    texts = all(row.get(key) is None or isinstance(row[key], str) for key in ("name", "target", "group", "skipped"))
    return numbers and texts and isinstance(row.get("n", 0), int)


def write_report(record: RunRecord, folder: Path) -> Path:
    """Write ``report.html`` for a stream, finished or not."""
    steps, reasons = read_steps(record), dict[str, int]()
    lines = [
        (step, [as_cell(step.find(name, UNLEARNED, group), reasons) for name, group, _ in STREAM]) for step in steps
    ]
    classes = _classes(steps)
    gone = [_gone(step, reasons) for step in steps if step.is_forgetting and step.results]
    return write_report_page(
        "network/continual/report.html",
        record,
        folder,
        headline=read_stream(record),
        curve=stream_plot(steps),
        sets=[(name, plot) for k, name in enumerate(_sets(steps)) if (plot := set_plot(steps, name, k))],
        heads=[head for _, _, head in STREAM],
        lines=lines,
        classes=classes,
        by_class=[
            (step, [as_cell(step.find("accuracy", UNLEARNED, name), reasons) for name in classes]) for step in steps
        ],
        gone=gone,
        models=[said for _, said in TARGETS],
        reasons=tuple(reasons),
        limits=LIMITS,
    )


def read_stream(record: RunRecord) -> Headline:
    """How the stream ended: what is known, and what is told of what was forgotten, beside the oracle."""
    subject = f"{len(record.rounds)} requests on {record.request.get('data') or 'a data set'}"
    if ended := unfinished(record, subject, "stream"):
        return ended
    tone, verdict = VERDICTS.get(str(record.outcome), (Tone.NEUTRAL, str(record.outcome or "Ended")))
    steps = read_steps(record)
    said = [f"{text}." for text in record.notes]
    if steps:
        for group, what in (("test", "Known classes"), ("forget", "What was forgotten")):
            own, oracle = (steps[-1].find("accuracy", target, group) for target in (UNLEARNED, ORACLE))
            if own is not None and own.value is not None:
                beside = f"; oracle {format_estimate(oracle)}" if oracle is not None else ""
                said.insert(0, f"{what}, accuracy at the end: {format_estimate(own)}{beside}.")
    return Headline(tone, verdict, subject, tuple(said))


# ---- plots and tables ---------------------------------------------------------------------------------------------


def stream_plot(steps: Sequence[Step]) -> Plot | None:
    """Accuracy on known classes and on what is forgotten, beside the oracle's, after each request."""
    series = [
        (Mark("known classes", 1, "s"), UNLEARNED, "test"),
        (Mark("forgotten items", 3, "^"), UNLEARNED, "forget"),
        (Mark("oracle: known", 2, "D", hollow=True), ORACLE, "test"),
        (Mark("oracle: forgotten", 4, "D", hollow=True), ORACLE, "forget"),
    ]
    return _curves("stream", "Accuracy after each request.", steps, series)


def set_plot(steps: Sequence[Step], name: str, number: int) -> Plot | None:
    """Accuracy on what one request was to forget, over the stream."""
    learner, oracle = model_marks((UNLEARNED, ORACLE), ("learner", "oracle"))
    series = [(learner, UNLEARNED, name), (oracle, ORACLE, name)]
    return _curves(f"set-{number}", f"Accuracy on the set of request {name}.", steps, series)


def _curves(name: str, alt: str, steps: Sequence[Step], series: Sequence[tuple[Mark, str, str]]) -> Plot | None:
    curves = []
    for mark, target, group in series:
        found = [(step.number, point(step.find("accuracy", target, group))) for step in steps]
        if pairs := [(number, place) for number, place in found if place.value is not None]:
            curves.append((mark, pairs))
    if not curves:
        return None
    told = " ".join(f"{m.label}: {', '.join(f'{x} {spoken_value(p)}' for x, p in pairs)}." for m, pairs in curves)
    return curve_plot(name, f"{alt} {told}", curves, xlabel="After request", ylabel="accuracy", height=300)


def _sets(steps: Sequence[Step]) -> list[str]:
    """Names of the sets that are forgotten, in the order of the requests."""
    return [f"{step.number} {step.request}" for step in steps if step.is_forgetting]


def _classes(steps: Sequence[Step]) -> list[str]:
    names = (r.group for step in steps for r in step.results if r.name == "accuracy" and r.group is not None)
    return sorted({name for name in names if name.startswith("class ")}, key=lambda name: (len(name), name))


def _gone(step: Step, reasons: dict[str, int]) -> GoneTable:
    own = ("accuracy", f"{step.number} {step.request}", "Accuracy on what was asked for")
    lines = []
    for name, group, said in (own, *GONE):
        cells = tuple(as_cell(step.find(name, target, group), reasons) for target, _ in TARGETS)
        lines.append((said, cells))
    return GoneTable(f"{step.number} {step.request}", tuple(lines))


# ---- several runs, terminal ---------------------------------------------------------------------------------------


def write_comparison(records: Mapping[str, RunRecord], folder: Path) -> Path:
    """Write ``compare.html`` and ``compare.md``: how streams ended, a row a run and its oracle.

    Raises:
        DataError: There is no run, or none that has measured anything.
    """
    check_any(records)
    heads, rows = _table(records)
    if not rows:
        raise DataError("no run has come as far as its first request: nothing to compare")
    runs = run_table(records, read_stream)
    return write_table(
        folder,
        heads,
        rows,
        runs=runs,
        title="Learners of tasks on one stream",
        about=ABOUT,
        cautions=cautions_of(records, lambda record: ", ".join(map(str, record.request.get("stream") or ()))),
        count=len(records),
    )


def _table(records: Mapping[str, RunRecord]) -> tuple[list[str], list[list[str]]]:
    columns = [*STREAM[:4], *GONE[1:4], GONE[5]]
    rows = []
    for label, record in records.items():
        if steps := read_steps(record):
            for target, said in ((UNLEARNED, label), (ORACLE, f"{label}, oracle")):
                found = [steps[-1].find(name, target, group) for name, group, _ in columns]
                if any(result is not None and result.value is not None for result in found):
                    rows.append([said, *(format_estimate(result) for result in found)])
    return ["Run, at its last request", *(said for _, _, said in columns)], rows


def print_streams(records: RunRecord | Mapping[str, RunRecord], console: Console) -> None:
    """Print what is known and what is gone after each request."""
    named: Mapping[str, RunRecord] = named_records(records)
    for record in named.values():
        table = style.table("after request", "known classes", "oracle", "forgotten items", "oracle", "forgetting")
        for step in read_steps(record):
            found = [
                step.find("accuracy", target, group) for group in ("test", "forget") for target in (UNLEARNED, ORACLE)
            ]
            cells = [*found, step.find("forgetting", UNLEARNED, None)]
            table.add_row(f"{step.number} {step.request}", *map(_short, cells))
        console.print(table)
    style.say_outcomes(console, named, read_stream)


def _short(result: Result | None) -> str:
    return "" if result is None or result.value is None else format_number(result.value)


STREAMS = Reporter(write=write_report, compare=write_comparison, show=print_streams)
