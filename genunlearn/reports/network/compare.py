"""Several runs on classifiers and regressors side by side: one table and one plot for each request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genunlearn.errors import DataError
from genunlearn.records import COMPLETED, RunRecord, write_text
from genunlearn.reports.cells import Cell, as_cell, find_or_reason
from genunlearn.reports.headline import Reading
from genunlearn.reports.markdown import Verbatim, escape_markdown, render_markdown, table_of
from genunlearn.reports.network.plots import gaps_plot
from genunlearn.reports.network.reading import (
    ACCURACY,
    ERROR,
    GROUPS,
    group_words,
    main_metric,
    read_group,
    read_items,
    request_of,
    words_of,
)
from genunlearn.reports.numbers import MISSING, format_number, format_seconds
from genunlearn.reports.page import render_page
from genunlearn.reports.plots import Plot
from genunlearn.reports.wording import ORACLE, ORIGINAL, UNLEARNED, run_method

HTML_NAME, MARKDOWN_NAME = "compare.html", "compare.md"
Column = tuple[str, str | None]
"""Name and group of a result."""

COLUMNS: tuple[Column, ...] = (
    *((ACCURACY, group) for group in GROUPS),
    *((ERROR, group) for group in GROUPS),
    ("oracle_gap", "mean"),
    ("tow", None),
    ("wasserstein", "forget"),
    ("activation_distance", "forget"),
    ("zrf", "forget"),
    ("mia_loss", "forget"),
    ("mia_matched", "matched"),
    ("rmia", None),
    ("anamnesis_index", "step/train"),
    ("relearning_accuracy", "step 5"),
    ("relearning_loss", "step 5"),
)
SHORT = {ACCURACY: "", ERROR: "", "relearning_accuracy": "Accuracy after", "relearning_loss": "Loss after"}
HEADS = {"mia_loss": "Published membership", "mia_matched": "Matched AUC", "wasserstein": "Wasserstein-1"}


@dataclass(frozen=True)
class Line:
    """One model of a table."""

    label: str
    target: str
    record: RunRecord


@dataclass(frozen=True)
class Section:
    """Runs with the same request: what stands in one table.

    Attributes:
        title: The request in words.
        lines: The original, every run, the oracle.
        columns: What at least one model has a value for.
        cautions: Why the runs cannot be compared without further thought, if so.
    """

    title: str
    lines: tuple[Line, ...]
    columns: tuple[Column, ...]
    cautions: tuple[str, ...]

    @property
    def first(self) -> RunRecord:
        """One of its runs."""
        return self.lines[0].record

    @property
    def runs(self) -> dict[str, RunRecord]:
        """Its runs by label."""
        return {line.label: line.record for line in self.lines if line.target == UNLEARNED}


def sections_of(records: Mapping[str, RunRecord]) -> list[Section]:
    """The runs divided by request, in the order in which they come."""
    by_request: dict[str, dict[str, RunRecord]] = {}
    for label, record in records.items():
        by_request.setdefault(request_of(record), {})[label] = record
    return [_section(title, _by_method(runs)) for title, runs in by_request.items()]


def _by_method(runs: Mapping[str, RunRecord]) -> dict[str, RunRecord]:
    """The runs by the names of their methods, where these tell them apart."""
    names = [run_method(record) for record in runs.values()]
    return dict(zip(names, runs.values(), strict=True)) if len(set(names)) == len(names) else dict(runs)


def _section(title: str, runs: Mapping[str, RunRecord]) -> Section:
    records = list(runs.values())
    measured = {(r.name, r.group) for record in records for r in record.results if r.value is not None}
    oracle = next((record for record in records if _has_oracle(record)), records[0])
    lines = (
        Line("Before", ORIGINAL, records[0]),
        *(Line(label, UNLEARNED, record) for label, record in runs.items()),
        Line("Oracle", ORACLE, oracle),
    )
    return Section(title, lines, tuple(c for c in COLUMNS if c in measured), tuple(_cautions(runs)))


def _has_oracle(record: RunRecord) -> bool:
    return any(result.target == ORACLE and result.value is not None for result in record.results)


def _cautions(runs: Mapping[str, RunRecord]) -> list[str]:
    found = []
    for what in ("base", "request"):
        if len({record.hashes.get(what) for record in runs.values()} - {None}) > 1:
            found.append(f"The runs differ in the hash of the {what}.")
    if unfinished := [label for label, record in runs.items() if record.status != COMPLETED]:
        found.append(f"Not finished: {', '.join(unfinished)}.")
    return found


def write_comparison(records: Mapping[str, RunRecord], folder: Path) -> Path:
    """Write ``compare.html`` and ``compare.md``: for each request methods in rows between original and oracle.

    Raises:
        DataError: There is no run to compare.
    """
    if not records:
        raise DataError("nothing to compare: give at least one folder that a run has written")
    folder, sections = Path(folder), sections_of(records)
    title = sections[0].title if len(sections) == 1 else f"{len(sections)} requests"
    views = [_view(number, section) for number, section in enumerate(sections)]
    write_text(folder / MARKDOWN_NAME, render_markdown("network/compare.md", title=title, sections=views))
    page = render_page("network/compare.html", title=title, sections=views, count=len(records))
    write_text(folder / HTML_NAME, page)
    return folder / HTML_NAME


def _view(number: int, section: Section) -> dict[str, Any]:
    """What the templates show of one request."""
    reasons: dict[str, int] = {}
    rows = [(line, [_cell(line, column, reasons) for column in section.columns]) for line in section.lines]
    runs = [_run_row(label, record) for label, record in section.runs.items()]
    costs = list(dict.fromkeys(name for _, _, cost in runs for name in cost))
    plot: Plot | None = gaps_plot(f"gaps-{number}", section.runs)
    return {
        "title": section.title,
        "cautions": section.cautions,
        "heads": [head_of(column) for column in section.columns],
        "rows": rows,
        "reasons": list(reasons),
        "runs": runs,
        "costs": costs,
        "plot": plot,
        "main": words_of(main_metric(section.first)),
        "table": markdown_table(section),
        "runs_table": runs_table(section),
    }


def _cell(line: Line, column: Column, reasons: dict[str, int]) -> tuple[Cell, Reading | None]:
    name, group = column
    cell = as_cell(find_or_reason(line.record, name, line.target, group), reasons)
    is_read = line.target == UNLEARNED and name == main_metric(line.record) and group is not None
    return cell, read_group(line.record, group or "") if is_read else None


def head_of(column: Column) -> str:
    """The head of a column, short enough for a table of many."""
    name, group = column
    if name in SHORT:
        where = group_words(group).label
        return f"{SHORT[name]} {where.replace('step ', '')} updates" if SHORT[name] else where.capitalize()
    if name == "oracle_gap":
        return "Mean gap to oracles"
    return HEADS.get(name, words_of(name).label)


def markdown_table(section: Section, columns: Sequence[Column] | None = None) -> Verbatim:
    """The table of a section in Markdown, n in the heads where all models share it.

    Args:
        section: The request.
        columns: What is shown; everything that was measured if None.
    """
    columns = section.columns if columns is None else columns
    reasons: dict[str, int] = {}
    cells = [[_cell(line, column, reasons)[0] for column in columns] for line in section.lines]
    shared = [_shared_n([row[place] for row in cells]) for place, _ in enumerate(columns)]
    heads = [
        head_of(column) + (f" (n={n:,})" if n is not None else "") for column, n in zip(columns, shared, strict=True)
    ]
    rows = [
        [line.label, *(_text(cell, with_n=n is None) for cell, n in zip(row, shared, strict=True))]
        for line, row in zip(section.lines, cells, strict=True)
    ]
    notes = [f"({number}) {escape_markdown(reason)}" for number, reason in enumerate(reasons, start=1)]
    table = table_of(["Model", *heads], rows)
    return Verbatim("\n".join([table, *(["", f"Not measured: {'; '.join(notes)}."] if notes else [])]))


def runs_table(section: Section) -> Verbatim:
    """How each run of a section ended and what it cost, in Markdown."""
    runs = [_run_row(label, record) for label, record in section.runs.items()]
    costs = list(dict.fromkeys(name for _, _, cost in runs for name in cost))
    rows = [[label, end.text, *(cost.get(name, MISSING) for name in costs)] for label, end, cost in runs]
    return table_of(["Method", "Outcome", *costs], rows)


def _shared_n(cells: Sequence[Cell]) -> int | None:
    sizes = {cell.n for cell in cells} - {None}
    return sizes.pop() if len(sizes) == 1 else None


def _text(cell: Cell, *, with_n: bool) -> str:
    if cell.footnote is not None:
        return cell.text
    return " ".join(filter(None, (cell.value, cell.interval, f"n={cell.n:,}" if with_n and cell.n else "")))


def _run_row(label: str, record: RunRecord) -> tuple[str, Reading, dict[str, str]]:
    end = read_items(record)
    seconds = record.cost.get("unlearning_cpu_seconds")
    cost = {} if seconds is None else {"CPU time to unlearn": format_seconds(seconds)}
    if speed := record.cost.get("speed_up_over_retraining"):
        cost["Speed-up over retraining"] = f"{format_number(float(speed))} times"
    if (steps := record.cost.get("steps")) is not None:
        cost["Steps"] = f"{steps:,}"
    return label, Reading(end.tone, end.verdict), cost
