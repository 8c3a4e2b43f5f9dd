"""The reports of erasure runs: images side by side, the numbers of the judge, what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genunlearn.records import RunRecord
from genunlearn.reports import style
from genunlearn.reports.cells import (
    Cell,
    Column,
    Line,
    asked_of,
    has_values,
    lines_of,
    measured_columns,
    named_records,
    targets_of,
)
from genunlearn.reports.diffusion.findings import find
from genunlearn.reports.diffusion.reading import LIMITS, read_erasure
from genunlearn.reports.diffusion.wording import metric_words
from genunlearn.reports.markdown import table_of
from genunlearn.reports.marks import dot_row, model_marks, point, spoken
from genunlearn.reports.numbers import format_estimate
from genunlearn.reports.parts import (
    MetricTable,
    cautions_of,
    check_any,
    metric_table,
    run_table,
    title_of,
    write_comparison_pages,
    write_report_page,
)
from genunlearn.reports.pictures import Sheet, sheet_of
from genunlearn.reports.plots import DotPanel, Mark, Plot, Point, dot_plot, scatter_plot
from genunlearn.reports.reporter import Reporter
from genunlearn.reports.wording import ORACLE, ORIGINAL, UNLEARNED, Words, goal_of, model_label, request_label

if TYPE_CHECKING:
    from rich.console import Console

SHARES = ("ua", "ira", "cra")
CONTROLS = ("Before", "Oracle")
SHORT = {"ua": "UA", "ira": "IRA", "cra": "CRA", "fid": "FID", "kid": "KID", "clip_score": "CLIP"}

# ---- one run ----------------------------------------------------------------------------------------------------


def write_report(record: RunRecord, folder: Path) -> Path:
    """Write ``report.html`` for an erasure run, finished or not; its images lie in the folder."""
    return write_report_page(
        "diffusion/report.html",
        record,
        folder,
        headline=read_erasure(record),
        sheets=_sheets(record, Path(folder)),
        plot=_share_plot(record),
        metrics=_metrics(record),
        limits=LIMITS,
    )


def _metrics(record: RunRecord) -> MetricTable:
    """Every metric that was measured."""
    groups: dict[str, list[str | None]] = {}
    for name, group in measured_columns([record]):
        groups.setdefault(name, []).append(group)
    return metric_table(record, groups, metric_words, lambda group: group or "all", goal_of)


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
        sheets.append(sheet_of(title, rows, {model_label(t): (t, folder) for t in targets_of(record)}))
    return [sheet for sheet in sheets if sheet.strips]


def _share_plot(record: RunRecord) -> Plot | None:
    """UA, IRA and CRA of every model."""
    targets = [t for t in targets_of(record) if has_values(record, t)]
    columns = [column for column in measured_columns([record]) if column[0] in SHARES]
    if not targets or not columns:
        return None
    rows = tuple(
        dot_row(label, [record.find(name, target, group) for target in targets], 1.0)
        for (name, group), label in zip(columns, heads_of(columns), strict=True)
    )
    marks = model_marks(targets)
    alt = f"Shares by model. {spoken(marks, rows)}"
    return dot_plot("shares", alt, marks, [DotPanel("Right is better", rows)], "Share of images")


# ---- several runs -----------------------------------------------------------------------------------------------


def write_comparison(records: Mapping[str, RunRecord], folder: Path) -> Path:
    """Write ``compare.html`` and ``compare.md`` for several runs: methods in rows between original and oracle.

    Images are looked for in folders beside the comparison that go by the runs' labels.

    Raises:
        DataError: There is no run to compare.
    """
    check_any(records)
    folder = Path(folder)
    columns, reasons = measured_columns(list(records.values())), dict[str, int]()
    heads = heads_of(columns)
    rows = [(line, line.cells_of(columns, reasons)) for line in lines_of(records, SHARES, CONTROLS)]
    texts = [[line.label, *(cell.text for cell in cells)] for line, cells in rows]
    return write_comparison_pages(
        "diffusion",
        folder,
        html={
            "heads": list(map(Words, heads)),
            "rows": [(line, [(cell, None) for cell in cells]) for line, cells in rows],
            "reasons": list(reasons),
            "plot": _scatter(rows, columns),
            "sheets": _compared_sheets(records, folder),
        },
        markdown={"table": table_of(["Model", *heads], texts, reasons)},
        title=title_of(map(request_label, records.values())),
        count=len(records),
        cautions=cautions_of(records, request_label),
        runs=run_table(records, read_erasure),
    )


def heads_of(columns: Sequence[Column]) -> list[str]:
    """What columns are called; a concept that all of them are about goes without saying."""
    groups = [(group or "").split(", ")[0] for name, group in columns if name in SHARES]
    lone = groups[0] if len(set(groups)) == 1 else None
    return [_head(name, group, lone) for name, group in columns]


def _head(name: str, group: str | None, lone: str | None) -> str:
    label = SHORT.get(name, metric_words(name).label)
    rest = group if not (lone and group) else group.removeprefix(lone).removeprefix(", ")
    return f"{label}, {rest}" if rest else label


def _scatter(rows: Sequence[tuple[Line, Sequence[Cell]]], columns: Sequence[Column]) -> Plot | None:
    """What still shows the first concept (1 - UA) across, against what stayed of its kind (IRA)."""
    places = [next((n for n, (name, _) in enumerate(columns) if name == wanted), None) for wanted in ("ua", "ira")]
    if None in places:
        return None
    x, y = (place for place in places if place is not None)
    shown = [(line, cells) for line, cells in rows if cells[x].footnote is None and cells[y].footnote is None]
    marks: list[Mark] = model_marks([line.target for line, _ in shown], [line.label for line, _ in shown])
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
        before = "Before" if len(set(map(asked_of, records.values()))) == 1 else f"Before of {first}"
        models = {before: (ORIGINAL, folder / first)} | {label: (label, folder / label) for label in records}
        sheets.append(sheet_of(title, merged, models))
    return [sheet for sheet in sheets if sheet.strips]


# ---- terminal ---------------------------------------------------------------------------------------------------


def print_erasure(records: RunRecord | Mapping[str, RunRecord], console: Console) -> None:
    """Print one or several runs as a table: models in rows, the judge's shares in columns."""
    named = named_records(records)
    columns = [at for at in measured_columns(list(named.values())) if at[0] in (*SHARES, "clip_score")]
    table, reasons = style.table("", *heads_of(columns)), dict[str, int]()
    for line in lines_of(named, SHARES, CONTROLS):
        if line.target == ORACLE and not has_values(line.record, ORACLE):
            continue
        cells = line.cells_of(columns, reasons)
        texts = [f"{cell.value}\n{cell.interval} n={cell.n}" if cell.footnote is None else cell.text for cell in cells]
        table.add_row(line.label, *texts)
    if columns:
        console.print(table)
    style.say_outcomes(console, named, read_erasure)
    style.say_cautions(console, cautions_of(named, request_label))


CONCEPTS = Reporter(write=write_report, compare=write_comparison, show=print_erasure, find=find)
