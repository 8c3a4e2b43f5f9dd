"""The reports of synthetic tables: every part of the score, and whether forgotten rows are nearer than others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genunlearn.ops.intervals import difference
from genunlearn.records import Result, RunRecord, read_json
from genunlearn.reports import style
from genunlearn.reports.cells import Cell, as_cell, named_records
from genunlearn.reports.headline import Headline, Reading, Tone, unfinished
from genunlearn.reports.network.synthetic_plots import PARTS, REFERENCE, closeness_plot, distances_plot, parts_plot
from genunlearn.reports.numbers import MISSING, estimate_of, format_estimate
from genunlearn.reports.parts import cautions_of, check_any, run_table, write_report_page, write_table
from genunlearn.reports.reporter import Reporter
from genunlearn.reports.wording import ORIGINAL, UNLEARNED, Words, humanise, run_section

if TYPE_CHECKING:
    from rich.console import Console

DISTANCES_NAME = "distances.json"
CHANCE = 0.5
MARGIN = 0.15
"""How far above chance the interval may reach for rows that are said to lie no nearer."""
TOO_FEW = Reading(Tone.NEUTRAL, "too few rows to tell")
GIVEN = "given"
SCORES = {
    "tabsyndex": Words("TabSynDex", "arithmetic mended: zero and near-one associations, means near 0, held-out rows"),
    "tabsyndex_published": Words("TabSynDex, as published", "to be read beside published values only"),
    "sdmetrics": Words("SDMetrics quality", "another library's score: shapes of columns, and trends of pairs"),
}
ABOUT = (
    "Scores are of the generator that learnt without the forgotten rows, or of a file's rows; 1 is good. Closeness is "
    "the probability that a forgotten row lies nearer to the synthetic rows than a held-out one, before (learnt from "
    "all rows) and after (learnt without the forgotten); 0.5 is chance."
)
LIMITS = (
    "Closeness is over all forgotten rows: single ones may still be told. A row that is rare is the easiest to tell.",
    "That no row stands nearer than chance is no proof of privacy: an attacker may use more than distances, and "
    "nothing here bounds what one row can change (differential privacy).",
    "Scores are for these columns and rows. What learns from the synthetic rows later may need what no part measures.",
)


@dataclass(frozen=True)
class Line:
    """One measured thing, a cell a table."""

    words: Words
    cells: tuple[tuple[str, Cell], ...]


def write_report(record: RunRecord, folder: Path) -> Path:
    """Write ``report.html`` for a run, finished or not; distances are read from ``distances.json``."""
    folder = Path(folder)
    path = folder / DISTANCES_NAME
    found = read_json(path, "file of distances") if path.is_file() else {}
    kept: Mapping[str, Any] = found if isinstance(found, dict) else {}
    labels, reasons = labels_of(record), dict[str, int]()
    asked = {target: label for target, label in labels.items() if target != REFERENCE}
    plots = [(label, distances_plot(kept, target, label)) for target, label in asked.items()]
    scores = [(words, _score_lines(record, name, labels, reasons)) for name, words in SCORES.items()]
    return write_report_page(
        "network/synthetic/report.html",
        record,
        folder,
        model=_data(record),
        method=_generator(record),
        headline=read_synthetic(record),
        labels=labels,
        asked=asked,
        scores=[(words, lines) for words, lines in scores if lines],
        privacy=_privacy_lines(record, asked, reasons),
        reasons=tuple(reasons),
        parts=parts_plot(record, labels),
        closeness=closeness_plot("closeness", {_generator(record): record}),
        distances=[(label, plot) for label, plot in plots if plot],
        is_given=_is_given(record),
        limits=LIMITS,
    )


def labels_of(record: RunRecord) -> dict[str, str]:
    """What each measured table is called."""
    if _is_given(record):
        known = {ORIGINAL: "The file's rows", REFERENCE: "Held-out real rows"}
    else:
        known = {
            ORIGINAL: "Learnt from all rows",
            UNLEARNED: "Learnt without the forgotten",
            REFERENCE: "Held-out real rows",
        }
    return known


def read_synthetic(record: RunRecord) -> Headline:
    """Whether forgotten rows are nearer to the synthetic ones than chance has it, and how good these are."""
    subject = f"{_generator(record)} on {_data(record)}"
    if ended := unfinished(record, subject):
        return ended
    before, after = (record.find("closeness", target) for target in (ORIGINAL, UNLEARNED))
    score = record.find("tabsyndex", ORIGINAL if _is_given(record) else UNLEARNED, "score")
    said = [f"TabSynDex {format_estimate(score)}; {format_estimate(record.find('tabsyndex', REFERENCE, 'score'))} for "
            "held-out real rows."]  # fmt: skip
    for result, label in ((before, labels_of(record)[ORIGINAL]), (after, "Learnt without the forgotten")):
        if result is not None:
            said.append(f"{label}: {read_closeness(result).text}, closeness {format_estimate(result)}.")
    found = [read_closeness(result) for result in (before, after) if result is not None]
    if not found:
        return Headline(Tone.NEUTRAL, "Measured", subject, tuple(said))
    said.append(_counts(record))
    if found[-1].tone is Tone.BAD:
        return Headline(Tone.BAD, "The synthetic rows lie near the forgotten ones", subject, tuple(said))
    if TOO_FEW in found:
        return Headline(Tone.NEUTRAL, "Too few rows to tell", subject, tuple(said))
    if copies := _copied(record, ORIGINAL if after is None else UNLEARNED):
        return Headline(Tone.BAD, "Forgotten rows stand among the synthetic ones", subject, (*said, copies))
    if found[0].tone is not Tone.BAD:
        title = "No nearer to forgotten rows than to others"
    elif before and after and (before.low or 0.0) > (1.0 if after.high is None else after.high):
        title = "Learning anew takes the forgotten rows out"
    else:
        title = "No nearer once learnt without the forgotten rows"
    return Headline(Tone.GOOD, title, subject, tuple(said))


def _copied(record: RunRecord, target: str) -> str:
    """What closeness passes over: more forgotten rows than held-out ones stand there as they are; else nothing."""
    found = [record.find("copied", target, group) for group in ("forgotten", "held out")]
    mine, its = map(estimate_of, found)
    if mine is None or its is None or difference(mine, its)[1] <= 0:
        return ""
    return "Standing there as they are: {} of the forgotten rows, {} of the held-out ones.".format(
        *map(format_estimate, found)
    )


def _counts(record: RunRecord) -> str:
    """How many rows closeness is about."""
    held_out = record.request.get("held-out rows of the forgotten kind", record.request.get("held-out rows"))
    return f"Forgotten rows: {record.request.get('rows to forget')}; held-out rows beside them: {held_out}."


def read_closeness(result: Result) -> Reading:
    """Nearer where the interval leaves out chance, not nearer where it leaves out ``MARGIN`` above; else neither."""
    if result.low is None or result.high is None or result.low <= CHANCE < result.high - MARGIN:
        return TOO_FEW
    if result.low > CHANCE:
        return Reading(Tone.BAD, "nearer")
    return Reading(Tone.GOOD, "not nearer") if result.high >= CHANCE else Reading(Tone.NEUTRAL, "farther")


def _score_lines(
    record: RunRecord, name: str, labels: Mapping[str, str], reasons: dict[str, int]
) -> list[Line]:  # fmt: skip
    groups = dict.fromkeys(r.group for r in record.results if r.name == name)
    return [
        Line(
            PARTS.get(str(group), Words(humanise(str(group), capital=True))),
            tuple(
                (label, as_cell(_or_reason(record, name, target, group), reasons)) for target, label in labels.items()
            ),
        )
        for group in groups
    ]


def _or_reason(record: RunRecord, name: str, target: str, group: str | None) -> Result | None:
    """The result asked for, or the one that says why the whole score could not be had."""
    return record.find(name, target, group) or record.find(name, target, "score")


def _privacy_lines(record: RunRecord, asked: Mapping[str, str], reasons: dict[str, int]) -> list[Line]:
    wanted = {
        ("closeness", None): Words("Closeness", "forgotten rows nearer than held-out ones; 0.5 is chance"),
        ("distance", "forgotten"): Words("Distance, forgotten rows", "to the nearest synthetic row"),
        ("distance", "held out"): Words("Distance, held-out rows", "of the same kind, which no generator saw"),
        ("copied", "forgotten"): Words("Copied, forgotten rows", "share that stands among the synthetic rows"),
        ("copied", "held out"): Words("Copied, held-out rows", "rows can be alike by chance"),
    }
    return [
        Line(words, tuple((label, as_cell(record.find(name, t, group), reasons)) for t, label in asked.items()))
        for (name, group), words in wanted.items()
        if any(record.find(name, target, group) for target in asked)
    ]


def _data(record: RunRecord) -> str:
    return str(record.request.get("data") or run_section(record, "request").get("data") or "an unnamed table")


def _generator(record: RunRecord) -> str:
    return humanise(str(run_section(record, "method").get("name") or "unnamed generator"))


def _is_given(record: RunRecord) -> bool:
    return run_section(record, "method").get("name") == GIVEN


# ---- several runs -----------------------------------------------------------------------------------------------


def write_comparison(records: Mapping[str, RunRecord], folder: Path) -> Path:
    """Write ``compare.html`` and ``compare.md``: a generator a row, its score, parts and closeness.

    Raises:
        DataError: There is no run.
    """
    check_any(records)
    heads, rows = comparison_table(records)
    runs = run_table(records, read_synthetic)
    return write_table(
        folder,
        heads,
        rows,
        runs=runs,
        title="Synthetic rows, generator by generator",
        about=ABOUT,
        cautions=cautions_of(records, _data),
        count=len(records),
        plot=closeness_plot("closeness", records),
    )


def comparison_table(records: Mapping[str, RunRecord]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows: every run, and the held-out rows that they share below them."""
    parts = [words.label for words in PARTS.values()]
    heads = ["Generator", *parts, "SDMetrics", "As published", "Closeness before", "Closeness after"]
    rows = []
    for label, record in records.items():
        target = ORIGINAL if _is_given(record) else UNLEARNED
        rows.append(
            [label, *_scores(record, target), *(_estimate(record.find("closeness", t)) for t in (ORIGINAL, UNLEARNED))]
        )
    shared = dict.fromkeys(tuple(_scores(record, REFERENCE)) for record in records.values())
    return heads, [*rows, *(["held-out real rows", *cells, "", ""] for cells in shared)]


def _scores(record: RunRecord, target: str) -> list[str]:
    found = [record.find("tabsyndex", target, part) for part in PARTS]
    others = [record.find(name, target, "score") for name in ("sdmetrics", "tabsyndex_published")]
    return [_estimate(result) for result in (*found, *others)]


def _estimate(result: Result | None) -> str:
    if result is None or result.value is None:
        return MISSING
    return format_estimate(result, with_n=False)


# ---- terminal ---------------------------------------------------------------------------------------------------


def print_synthetic(records: RunRecord | Mapping[str, RunRecord], console: Console) -> None:
    """Print score, parts and closeness of each run."""
    named: Mapping[str, RunRecord] = named_records(records)
    for label, record in named.items():
        labels = labels_of(record)
        table = style.table(label, *labels.values())
        for part, words in PARTS.items():
            table.add_row(words.label, *(_estimate(record.find("tabsyndex", target, part)) for target in labels))
        for name, said in (("sdmetrics", "SDMetrics"), ("tabsyndex_published", "As published")):
            table.add_row(said, *(_estimate(record.find(name, target, "score")) for target in labels))
        near = (record.find("closeness", target) for target in labels)
        table.add_row("Closeness", *("" if result is None else _estimate(result) for result in near))
        console.print(table)
    style.say_outcomes(console, named, read_synthetic)


SYNTHETIC = Reporter(write=write_report, compare=write_comparison, show=print_synthetic)
