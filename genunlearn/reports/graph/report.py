"""The reports of runs on graph networks: what went, what stayed, how near to never having learnt it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genunlearn.records import RunRecord
from genunlearn.reports import style
from genunlearn.reports.bars import bar_plot
from genunlearn.reports.cells import (
    Column,
    Line,
    as_cell,
    find_or_reason,
    lines_of,
    measured_columns,
    named_records,
    shared_n,
    targets_of,
)
from genunlearn.reports.graph.reading import (
    group_words,
    limits_of,
    read_graph_run,
    read_row,
    request_of,
    rows_of,
    words_of,
)
from genunlearn.reports.markdown import Verbatim, table_of
from genunlearn.reports.marks import MODELS, dot_row, model_marks, spoken
from genunlearn.reports.numbers import format_number, format_seconds
from genunlearn.reports.parts import (
    GroupLine,
    MetricTable,
    cautions_of,
    check_any,
    metric_table,
    run_table,
    title_of,
    write_comparison_pages,
    write_report_page,
)
from genunlearn.reports.plots import Plot
from genunlearn.reports.relearning import relearning_plot
from genunlearn.reports.reporter import Reporter
from genunlearn.reports.wording import UNLEARNED, Words, humanise, model_label, run_method

if TYPE_CHECKING:
    from rich.console import Console

RELEARNING = {"accuracy": "Accuracy, other half", "auc": "AUC, other half"}
BESIDE: tuple[Column, ...] = (
    ("average_precision", "test"),
    ("oracle_gap", "mean"),
    ("consistency", "forget"),
    ("integrity", "test"),
    ("membership_ratio", "forget"),
    ("membership", None),
    ("link_stealing", None),
    ("relearning_accuracy", "step 20"),
    ("relearning_auc", "step 20"),
)
"""What a comparison shows beside the leading numbers."""


def label_of(column: Column) -> str:
    """What a number is called: its metric, and the set where that says more."""
    name, group = column
    if name == "accuracy":
        return f"Accuracy, {group_words(group).label}"
    if name.startswith("relearning_"):
        return f"{RELEARNING[name.removeprefix('relearning_')]}, {(group or '').removeprefix('step ')} updates"
    return words_of(name).label


def write_report(record: RunRecord, folder: Path) -> Path:
    """Write ``report.html`` for a run, finished or not."""
    return write_report_page(
        "graph/report.html",
        record,
        Path(folder),
        headline=read_graph_run(record),
        budgets=record.request.get("attacks") or {},
        sets=_sets(record),
        plot=levels_plot(record),
        metrics=_metrics(record),
        relearning=relearning_plot(record, RELEARNING),
        limits=limits_of(record),
    )


def _sets(record: RunRecord) -> dict[str, Any]:
    """The leading numbers: models in columns, and where the unlearned one stands."""
    reasons, measured = dict[str, int](), measured_columns([record])
    models = [Line(model_label(target), target, record) for target in targets_of(record)]
    lines = [
        GroupLine(
            Words(label_of(column), words_of(column[0]).meaning),
            [model.cells_of([column], reasons)[0] for model in models],
            read_row(record, column),
        )
        for column in rows_of(record)
        if column in measured
    ]
    return {"heads": [model.label for model in models], "lines": lines, "reasons": list(reasons)}


def levels_plot(record: RunRecord) -> Plot | None:
    """Before, after and oracle by leading number; None where nothing was measured."""
    targets = [t for t in MODELS if any(r.target == t and r.value is not None for r in record.results)]
    found = {column: [record.find(column[0], target, column[1]) for target in targets] for column in rows_of(record)}
    rows = [
        dot_row(label_of(column), row) for column, row in found.items() if any(r and r.value is not None for r in row)
    ]
    if not rows:
        return None
    marks = model_marks(targets)
    return bar_plot("levels", f"Before, after and oracle. {spoken(marks, rows)}", marks, rows, "share, or area")


def _metrics(record: RunRecord) -> MetricTable:
    """Every other metric and attack; the relearning curve has its plot."""
    leading, groups = set(rows_of(record)), dict[str, dict[str | None, None]]()
    for r in record.results:
        if (r.name, r.group) not in leading and r.name != "oracle" and not (r.group or "").startswith("step "):
            groups.setdefault(r.name, {})[r.group] = None
    return metric_table(record, groups, words_of, lambda group: humanise(group_words(group).label, capital=True))


# ---- several runs, and the terminal -----------------------------------------------------------------------------


def sections_of(records: Mapping[str, RunRecord]) -> dict[str, dict[str, RunRecord]]:
    """The runs by request, in the order in which they come."""
    found: dict[str, dict[str, RunRecord]] = {}
    for label, record in records.items():
        found.setdefault(request_of(record), {})[label] = record
    return found


def write_comparison(records: Mapping[str, RunRecord], folder: Path) -> Path:
    """Write ``compare.html`` and ``compare.md``: for each request methods in rows between original and oracle.

    Raises:
        DataError: There is no run to compare.
    """
    check_any(records)
    sections = sections_of(records)
    return write_comparison_pages(
        "graph",
        folder,
        html={},
        markdown={},
        count=len(records),
        cautions=cautions_of(records, request_of) if len(sections) > 1 else [],
        title=title_of(sections),
        sections=[_view(title, runs) for title, runs in sections.items()],
    )


def _view(title: str, runs: Mapping[str, RunRecord]) -> dict[str, Any]:
    lines, columns = _lines(runs)
    reasons: dict[str, int] = {}
    rows = [(line, [_cell(line, column, reasons) for column in columns]) for line in lines]
    return {
        "title": title,
        "cautions": cautions_of(runs, request_of),
        "heads": [Words(label_of(column)) for column in columns],
        "rows": rows,
        "reasons": list(reasons),
        "runs": run_table(runs, read_graph_run, _costs),
        "table": markdown_table(runs),
    }


def _lines(runs: Mapping[str, RunRecord]) -> tuple[tuple[Line, ...], tuple[Column, ...]]:
    records = list(runs.values())
    names = [run_method(record) for record in records]
    named = dict(zip(names, records, strict=True)) if len(set(names)) == len(names) else dict(runs)
    measured, leading = measured_columns(records), rows_of(records[0])
    columns = tuple(column for column in (*leading, *BESIDE) if column in measured)
    return lines_of(named, {name for name, _ in leading}, ("Before", "Oracle")), columns


def _cell(line: Line, column: Column, reasons: dict[str, int]) -> Any:
    cell = as_cell(find_or_reason(line.record, column[0], line.target, column[1]), reasons)
    is_read = line.target == UNLEARNED and column in rows_of(line.record)
    return cell, read_row(line.record, column) if is_read else None


def markdown_table(runs: Mapping[str, RunRecord]) -> Verbatim:
    """The table of one request in Markdown, n in the heads where all models share it."""
    lines, columns = _lines(runs)
    reasons: dict[str, int] = {}
    cells = [line.cells_of(columns, reasons) for line in lines]
    shared = [shared_n(row[place] for row in cells) for place, _ in enumerate(columns)]
    heads = [label_of(c) + (f" (n={n:,})" if n is not None else "") for c, n in zip(columns, shared, strict=True)]
    rows = [
        [line.label, *(f"{cell.value} {cell.interval}".strip() if cell.footnote is None else cell.text for cell in row)]
        for line, row in zip(lines, cells, strict=True)
    ]
    return table_of(["Model", *heads], rows, reasons)


def _costs(record: RunRecord) -> dict[str, str]:
    seconds, speed = record.cost.get("unlearning_cpu_seconds"), record.cost.get("speed_up_over_retraining")
    cost = {} if seconds is None else {"CPU time to unlearn": format_seconds(seconds)}
    return cost | ({"Speed-up over retraining": f"{format_number(float(speed))} times"} if speed else {})


def print_graphs(records: RunRecord | Mapping[str, RunRecord], console: Console) -> None:
    """Print one or several runs, one table a request: models in rows, leading numbers in columns."""
    from rich.text import Text

    named = named_records(records)
    for title, runs in sections_of(named).items():
        lines, columns = _lines(runs)
        columns = tuple(column for column in columns if column in rows_of(next(iter(runs.values()))))
        table, reasons = style.table("", *map(label_of, columns), title=Text(title)), dict[str, int]()
        for line in lines:
            texts = []
            for column, cell in zip(columns, line.cells_of(columns, reasons), strict=True):
                text = Text(
                    cell.value, style="" if line.is_control else style.STYLES[read_row(line.record, column).tone]
                )
                texts.append(text.append(f"\n{cell.interval}" if cell.interval else "", style="dim"))
            table.add_row(Text(line.label, style="bold" if line.target == UNLEARNED else ""), *texts)
        console.print(table)
        if reasons:
            style.say(console, f"not measured: {'; '.join(reasons)}", "dim")
    style.say_outcomes(console, named, read_graph_run)
    style.say_cautions(console, cautions_of(named, request_of))
    for label, record in named.items():
        for note in record.notes if record.outcome == "collapsed" else ():
            style.say(console, f"{label}: {note}")


GRAPHS = Reporter(write=write_report, compare=write_comparison, show=print_graphs)
