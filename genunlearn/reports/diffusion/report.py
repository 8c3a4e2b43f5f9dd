"""The reports of erasure runs: images side by side, the numbers of the judge, what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genunlearn.errors import DataError
from genunlearn.records import COMPLETED, RunRecord, write_text
from genunlearn.reports.cells import Cell, as_cell, find_or_reason, named_records, targets_of
from genunlearn.reports.cost import read_cost
from genunlearn.reports.diffusion.reading import LIMITS, read_erasure
from genunlearn.reports.diffusion.wording import metric_words
from genunlearn.reports.headline import Reading
from genunlearn.reports.markdown import render_markdown, table_of
from genunlearn.reports.marks import model_marks, point
from genunlearn.reports.numbers import MISSING, format_estimate, format_number, format_seconds
from genunlearn.reports.page import render_page
from genunlearn.reports.parts import details
from genunlearn.reports.pictures import Sheet, sheet_of
from genunlearn.reports.plots import DotPanel, DotRow, Mark, Plot, Point, dot_plot, scatter_plot
from genunlearn.reports.reporter import Face
from genunlearn.reports.wording import (
    ORACLE,
    ORIGINAL,
    UNLEARNED,
    Goal,
    goal_of,
    humanise,
    request_label,
    run_method,
    run_model,
    target_words,
)

if TYPE_CHECKING:
    from rich.console import Console

REPORT_NAME, COMPARE_NAME, MARKDOWN_NAME = "report.html", "compare.html", "compare.md"
SHARES = ("ua", "ira", "cra")
AIMS = {Goal.DOWN: "↓ lower", Goal.UP: "↑ higher", Goal.NONE: "like the oracle"}
SHORT = {"ua": "UA", "ira": "IRA", "cra": "CRA", "fid": "FID", "kid": "KID", "clip_score": "CLIP"}

Column = tuple[str, str | None]
"""Name and group of a result."""


@dataclass(frozen=True)
class Line:
    """One model in a comparison."""

    label: str
    kind: str
    record: RunRecord
    target: str


# ---- one run ----------------------------------------------------------------------------------------------------


def write_report(record: RunRecord, folder: Path) -> Path:
    """Write ``report.html`` for an erasure run, finished or not; its images lie in the folder."""
    folder = Path(folder)
    path = folder / REPORT_NAME
    page = render_page(
        "diffusion/report.html",
        record=record,
        headline=read_erasure(record),
        method=run_method(record),
        model=run_model(record),
        request={key: _plain(value) for key, value in record.request.items() if value not in (None, "", [], ())},
        sheets=_sheets(record, folder),
        plot=_share_plot(record),
        metrics=_blocks(record),
        cost=read_cost(record),
        limits=LIMITS,
        details=details(record),
    )
    write_text(path, page)
    return path


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _sheets(record: RunRecord, folder: Path) -> list[Sheet]:
    """What must go, prompts held out, and what must stay: a sheet each."""
    titles = {"forget": "What should go", "preserve": "What should stay"}
    places = dict.fromkeys((row.get("group"), row.get("concept"), row.get("set")) for row in record.examples)
    sheets = []
    for group, concept, name in places:
        rows = [
            r for r in record.examples if (r.get("group"), r.get("concept"), r.get("set")) == (group, concept, name)
        ]
        title = ": ".join(filter(None, (titles.get(str(group), str(group)), concept))) + (f", {name}" if name else "")
        models = {target_words(target).label: (target, folder) for target in targets_of(record)}
        sheets.append(sheet_of(title, rows, {humanise(label, capital=True): at for label, at in models.items()}))
    return [sheet for sheet in sheets if sheet.strips]


def _share_plot(record: RunRecord) -> Plot | None:
    """UA, IRA and CRA of every model."""
    targets = [t for t in targets_of(record) if any(r.target == t and r.value is not None for r in record.results)]
    columns = [column for column in columns_of([record]) if column[0] in SHARES]
    if not targets or not columns:
        return None
    rows = []
    for (name, group), label in zip(columns, heads_of(columns), strict=True):
        found = [record.find(name, target, group) for target in targets]
        sizes = dict.fromkeys(result.n for result in found if result and result.value is not None)
        rows.append(DotRow(label, " ".join(f"n={n}" for n in sizes), tuple(map(point, found)), 1.0))
    marks = model_marks(targets, [humanise(target_words(target).label, capital=True) for target in targets])
    alt = "Shares by model. " + " ".join(
        f"{row.label}: " + ", ".join(f"{m.label} {_share(p)}" for m, p in zip(marks, row.points, strict=True)) + "."
        for row in rows
    )
    return dot_plot("shares", alt, marks, [DotPanel("Right is better", tuple(rows))], "Share of images")


def _share(place: Point) -> str:
    return MISSING if place.value is None else format_number(place.value)


def columns_of(records: Sequence[RunRecord]) -> list[Column]:
    """Every name and group that some model has a value for, metric by metric."""
    found = dict.fromkeys((r.name, r.group) for record in records for r in record.results if r.value is not None)
    names = list(dict.fromkeys(name for name, _ in found))
    return sorted(found, key=lambda column: names.index(column[0]))


def _blocks(record: RunRecord) -> dict[str, Any]:
    """Every metric, one block each, models in columns."""
    targets, reasons = targets_of(record), dict[str, int]()
    columns, blocks = columns_of([record]), []
    for name in dict.fromkeys(name for name, _ in columns):
        lines = []
        for group in (group for other, group in columns if other == name):
            found = [(target, find_or_reason(record, name, target, group)) for target in targets]
            goals = [goal_of(result) for _, result in found if result and result.value is not None]
            cells = [(target, as_cell(result, reasons)) for target, result in found]
            lines.append({"label": group or "all", "cells": cells, "aim": AIMS[goals[0]]})
        blocks.append({"words": metric_words(name), "lines": lines})
    return {"blocks": blocks, "targets": targets, "reasons": list(reasons)}


# ---- several runs -----------------------------------------------------------------------------------------------


def write_comparison(records: Mapping[str, RunRecord], folder: Path) -> Path:
    """Write ``compare.html`` and ``compare.md`` for several runs: methods in rows between original and oracle.

    Images are looked for in folders beside the comparison that go by the runs' labels.

    Raises:
        DataError: There is no run to compare.
    """
    if not records:
        raise DataError("nothing to compare: give at least one folder that a run has written")
    folder = Path(folder)
    columns, reasons = columns_of(list(records.values())), dict[str, int]()
    rows = [
        (line, [as_cell(find_or_reason(line.record, name, line.target, group), reasons) for name, group in columns])
        for line in lines_of(records)
    ]
    runs = [_run_row(label, record) for label, record in records.items()]
    costs = list(dict.fromkeys(name for _, _, cost in runs for name in cost))
    context = {
        "title": _title(records),
        "cautions": _cautions(records),
        "heads": heads_of(columns),
        "reasons": list(reasons),
    }
    tables = {
        "table": table_of(
            ["Model", *context["heads"]], [[line.label, *(c.text for c in cells)] for line, cells in rows]
        ),
        "runs_table": table_of(
            ["Run", "Outcome", *costs],
            [[label, end.text, *(cost.get(name, MISSING) for name in costs)] for label, end, cost in runs],
        ),
    }
    write_text(folder / MARKDOWN_NAME, render_markdown("diffusion/compare.md", **context, **tables))
    page = render_page(
        "diffusion/compare.html",
        rows=rows,
        runs=runs,
        costs=costs,
        plot=_scatter(rows, columns),
        sheets=_compared_sheets(records, folder),
        **context,
    )
    write_text(folder / COMPARE_NAME, page)
    return folder / COMPARE_NAME


def lines_of(records: Mapping[str, RunRecord]) -> list[Line]:
    """The original, every run, and the oracle if one was measured; controls stand once."""
    first = next(iter(records.values()))
    with_oracle = next((r for r in records.values() if _has(r, ORACLE)), first)
    return [
        Line(humanise(target_words(ORIGINAL).label, capital=True), ORIGINAL, first, ORIGINAL),
        *(Line(label, UNLEARNED, record, UNLEARNED) for label, record in records.items()),
        Line(humanise(target_words(ORACLE).label, capital=True), ORACLE, with_oracle, ORACLE),
    ]


def _has(record: RunRecord, target: str) -> bool:
    return any(result.target == target and result.value is not None for result in record.results)


def heads_of(columns: Sequence[Column]) -> list[str]:
    """What columns are called; a concept that all of them are about goes without saying."""
    groups = [(group or "").split(", ")[0] for name, group in columns if name in SHARES]
    lone = groups[0] if len(set(groups)) == 1 else None
    return [_head(name, group, lone) for name, group in columns]


def _head(name: str, group: str | None, lone: str | None) -> str:
    label = SHORT.get(name, metric_words(name).label)
    rest = group if not (lone and group) else group.removeprefix(lone).removeprefix(", ")
    return f"{label}, {rest}" if rest else label


def _title(records: Mapping[str, RunRecord]) -> str:
    labels = {request_label(record) for record in records.values()}
    return labels.pop() if len(labels) == 1 else f"{len(records)} runs"


def _cautions(records: Mapping[str, RunRecord]) -> list[str]:
    found = []
    for what, values in (
        ("the model", {run_model(record) for record in records.values()}),
        ("the request", {str(record.hashes.get("request")) for record in records.values()}),
        ("the hash of the base", {str(record.hashes.get("base")) for record in records.values()}),
    ):
        if len(values) > 1:
            found.append(f"The runs differ in {what}.")
    if unfinished := [label for label, record in records.items() if record.status != COMPLETED]:
        found.append(f"Not finished: {', '.join(unfinished)}.")
    return found


def _run_row(label: str, record: RunRecord) -> tuple[str, Reading, dict[str, str]]:
    end, cost = read_erasure(record), read_cost(record)
    seconds = {phase.name: phase.seconds for phase in cost.phases}.get("unlearn")
    own = {} if seconds is None else {"Time to erase": format_seconds(seconds)}
    return label, Reading(end.tone, end.verdict), own | cost.items


def _scatter(rows: Sequence[tuple[Line, Sequence[Cell]]], columns: Sequence[Column]) -> Plot | None:
    """What still shows the first concept (1 - UA) across, against what stayed of its kind (IRA)."""
    places = [next((n for n, (name, _) in enumerate(columns) if name == wanted), None) for wanted in ("ua", "ira")]
    if None in places:
        return None
    x, y = (place for place in places if place is not None)
    shown = [(line, cells) for line, cells in rows if cells[x].footnote is None and cells[y].footnote is None]
    marks: list[Mark] = model_marks([line.kind for line, _ in shown], [line.label for line, _ in shown])
    points = [(m, _left(point(c[x].result)), point(c[y].result)) for m, (_, c) in zip(marks, shown, strict=True)]
    alt = " ".join(
        f"{line.label}: UA {format_estimate(c[x].result)}, IRA {format_estimate(c[y].result)}." for line, c in shown
    )
    xlabel, ylabel = "Images that still show it, 1 - UA (left is better)", "IRA (up is better)"
    return scatter_plot("scatter", alt, points, xlabel=xlabel, ylabel=ylabel)


def _left(share: Point) -> Point:
    """What a share leaves."""
    low, high = (None if end is None else 1 - end for end in (share.high, share.low))
    return Point(None if share.value is None else 1 - share.value, low, high)


def _compared_sheets(records: Mapping[str, RunRecord], folder: Path) -> list[Sheet]:
    """One sheet for what should go and one for what should stay, a strip for each run."""
    first = next(iter(records))
    examples, sheets = records[first].examples, []
    for group, title in (("forget", "What should go"), ("preserve", "What should stay")):
        rows = [(n, row) for n, row in enumerate(examples) if row.get("group") == group and not row.get("set")]
        merged = []
        for number, row in rows:
            paths: dict[str, Any] = {"prompt": row.get("prompt", ""), ORIGINAL: row.get(ORIGINAL)}
            for label, record in records.items():
                if len(record.examples) > number and record.examples[number].get("prompt") == row.get("prompt"):
                    paths[label] = record.examples[number].get(UNLEARNED)
            merged.append(paths)
        models = {"Before": (ORIGINAL, folder / first)} | {label: (label, folder / label) for label in records}
        sheets.append(sheet_of(title, merged, models))
    return [sheet for sheet in sheets if sheet.strips]


# ---- terminal ---------------------------------------------------------------------------------------------------


def print_erasure(records: RunRecord | Mapping[str, RunRecord], console: Console) -> None:
    """Print one or several runs as a table: models in rows, the judge's shares in columns."""
    from rich import box
    from rich.table import Table

    named = named_records(records)
    columns = [column for column in columns_of(list(named.values())) if column[0] in (*SHARES, "clip_score")]
    table = Table("", *heads_of(columns), box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False)
    reasons: dict[str, int] = {}
    for line in lines_of(named):
        cells = [as_cell(find_or_reason(line.record, name, line.target, group), reasons) for name, group in columns]
        if line.kind == ORACLE and all(cell.footnote is not None for cell in cells):
            continue
        texts = [f"{cell.value}\n{cell.interval} n={cell.n}" if cell.footnote is None else cell.text for cell in cells]
        table.add_row(line.label, *texts)
    if columns:
        console.print(table)
    for label, record in named.items():
        end = read_erasure(record)
        console.print(f"{label}: {end.verdict}. {' '.join(end.sentences)}", soft_wrap=True, markup=False)


CONCEPTS = Face(write=write_report, compare=write_comparison, show=print_erasure)
