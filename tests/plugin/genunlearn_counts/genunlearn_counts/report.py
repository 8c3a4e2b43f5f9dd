"""The report, the comparison and the terminal table of runs on tables of letters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from genunlearn.records import RunRecord, write_text
from genunlearn.reports import style
from genunlearn.reports.cells import Cell, Column, Line, lines_of, measured_columns, named_records
from genunlearn.reports.headline import Headline, Tone, headline_of
from genunlearn.reports.page import render_page
from genunlearn.reports.parts import HTML_NAME, cautions_of, metric_table, run_table, write_report_page
from genunlearn.reports.reporter import Reporter
from genunlearn.reports.wording import ORACLE, UNLEARNED, Words, goal_of, humanise, words_in

if TYPE_CHECKING:
    from rich.console import Console

PACKAGE = "genunlearn_counts"
WORDS_OF = {
    "known": Words("Known words", "share of words that are likelier than letters drawn at random"),
    "last_letter": Words("Last letter", "share of words whose last letter is completed"),
}
CONTROLS = ("Before", "Oracle")


def read(record: RunRecord) -> Headline:
    """How a run ended, in words."""
    return headline_of(record, _asked(record), _verdict, _evidence)


def write_report(record: RunRecord, folder: Path) -> Path:
    """Write ``report.html``."""
    measured: dict[str, list[str | None]] = {}
    for name, group in measured_columns([record]):
        measured.setdefault(name, []).append(group)
    metrics = metric_table(record, measured, _words, lambda group: humanise(group or "", capital=True), goal_of)
    return write_report_page(
        f"{PACKAGE}:report.html",
        record,
        folder,
        headline=read(record),
        metrics=metrics,
        budgets=record.request.get("attacks") or {},
        limits=(),
    )


def write_comparison(records: Mapping[str, RunRecord], folder: Path) -> Path:
    """Write ``compare.html``."""
    columns, lines, reasons = _table(records)
    page = render_page(
        f"{PACKAGE}:compare.html",
        title="tables of letters",
        count=len(records),
        cautions=cautions_of(records, _asked),
        heads=[Words(_head(column)) for column in columns],
        rows=[(line, [(cell, None) for cell in cells]) for line, cells in lines],
        reasons=reasons,
        runs=run_table(records, read),
    )
    write_text(Path(folder) / HTML_NAME, page)
    return Path(folder) / HTML_NAME


def show(records: RunRecord | Mapping[str, RunRecord], console: Console) -> None:
    """Print one or several runs, models in rows."""
    named = named_records(records)
    columns, lines, reasons = _table(named)
    table = style.table("", *map(_head, columns))
    for line, cells in lines:
        table.add_row(line.label, *(cell.text for cell in cells))
    console.print(table)
    if reasons:
        style.say(console, f"not measured: {'; '.join(reasons)}")
    style.say_outcomes(console, named, read)


def _table(records: Mapping[str, RunRecord]) -> tuple[list[Column], list[tuple[Line, tuple[Cell, ...]]], list[str]]:
    """Columns, a row of cells a model, and the reasons for cells without a value."""
    columns, reasons = measured_columns(list(records.values())), dict[str, int]()
    lines = lines_of(records, [name for name, _ in columns], CONTROLS)
    return columns, [(line, line.cells_of(columns, reasons)) for line in lines], list(reasons)


def _words(name: str) -> Words:
    return words_in(WORDS_OF, name)


def _head(column: Column) -> str:
    name, group = column
    return f"{_words(name).label}, {group}"


def _asked(record: RunRecord) -> str:
    return ", ".join(record.request.get("words", ())) or "no words"


def _verdict(record: RunRecord) -> tuple[Tone, str]:
    after = record.find("known", UNLEARNED, "forget")
    if record.outcome == "collapsed" or after is None or after.value is None:
        return Tone.BAD, "Collapsed"
    if not after.value:
        return Tone.GOOD, "Forgotten"
    return (Tone.WARN, "Partly forgotten") if after.value < 1 else (Tone.BAD, "Still known")


def _evidence(record: RunRecord) -> Iterator[str]:
    for group in ("forget", "retain"):
        values = [record.find("known", target, group) for target in (UNLEARNED, ORACLE)]
        shares = [f"{found.value:.2f}" for found in values if found and found.value is not None]
        yield f"Known of {group}: {' (oracle '.join(shares)}{')' * (len(shares) - 1)}."


WORDS = Reporter(write=write_report, compare=write_comparison, show=show)
"""What the table of reports names."""
