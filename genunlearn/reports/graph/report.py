"""The reports of runs on graph networks: what went, what stayed, how near to never having learnt it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from genunlearn.records import RunRecord
from genunlearn.reports.bars import bar_plot
from genunlearn.reports.cells import Column, Line, measured_columns, targets_of
from genunlearn.reports.graph.reading import (
    group_words,
    limits_of,
    read_graph_run,
    read_row,
    request_of,
    rows_of,
    words_of,
)
from genunlearn.reports.headline import Reading
from genunlearn.reports.marks import MODELS, dot_row, model_marks, spoken
from genunlearn.reports.parts import GroupLine, MetricTable, metric_table, write_report_page
from genunlearn.reports.plots import Plot
from genunlearn.reports.relearning import relearning_plot
from genunlearn.reports.reporter import Reporter
from genunlearn.reports.sections import Comparison
from genunlearn.reports.wording import Words, humanise, model_label

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


def _read(record: RunRecord, column: Column) -> Reading | None:
    return read_row(record, column) if column in rows_of(record) else None


COMPARISON = Comparison(
    family="graph",
    request_of=request_of,
    read_run=read_graph_run,
    read=_read,
    head_of=label_of,
    main=("accuracy", "auc", "df_auc"),
    columns=lambda record: (*rows_of(record), *BESIDE),
    leading=lambda record: {label_of(column): column for column in rows_of(record)},
    caption=lambda section: section.title,
    view=lambda number, section: {},
)
GRAPHS = Reporter(write=write_report, compare=COMPARISON.write, show=COMPARISON.show)
