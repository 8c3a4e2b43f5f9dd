"""The reports of runs on classifiers and regressors: what went, what stayed, how near to never having learnt it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genunlearn.records import RunRecord
from genunlearn.reports import style
from genunlearn.reports.cells import Line, measured_columns, named_records, targets_of
from genunlearn.reports.network.compare import sections_of, write_comparison
from genunlearn.reports.network.findings import find
from genunlearn.reports.network.plots import membership_plot, sets_plot
from genunlearn.reports.network.reading import (
    GROUPS,
    group_words,
    limits_of,
    main_metric,
    read_group,
    read_items,
    request_of,
    words_of,
)
from genunlearn.reports.parts import GroupLine, MetricTable, cautions_of, metric_table, write_report_page
from genunlearn.reports.pictures import Sheet, sheet_of
from genunlearn.reports.relearning import relearning_plot
from genunlearn.reports.reporter import Reporter
from genunlearn.reports.sections import Section
from genunlearn.reports.wording import ORACLE, UNLEARNED, humanise, model_label

if TYPE_CHECKING:
    from rich.console import Console

CURVES_NAME = "curves.json"
RELEARNING = {"accuracy": "Accuracy, forgotten kind", "loss": "Loss, forgotten kind"}
LABEL, ONE_LINE = 14, 24
"""Columns of a row's head, and of a cell that has its interval beside the value."""


def write_report(record: RunRecord, folder: Path) -> Path:
    """Write ``report.html`` for a run, finished or not; the membership curve is read from ``curves.json`` beside it."""
    return write_items_page("network/report.html", record, folder)


def write_items_page(template: str, record: RunRecord, folder: Path, **own: Any) -> Path:
    """Write ``report.html`` from a template that has parts of its `own` beside those of every report on items."""
    folder = Path(folder)
    return write_report_page(
        template,
        record,
        folder,
        headline=read_items(record),
        budgets=record.request.get("attacks") or {},
        sets=_sets(record),
        plot=sets_plot(record),
        metrics=_metrics(record),
        painted=_painted(record, folder),
        relearning=relearning_plot(record, RELEARNING),
        membership=membership_plot(_curves(folder).get("membership_roc", {})),
        limits=limits_of(record),
        **own,
    )


def _sets(record: RunRecord) -> dict[str, Any]:
    """The main metric by set: models in columns, and where the unlearned one stands."""
    name, reasons = main_metric(record), dict[str, int]()
    models = [Line(model_label(target), target, record) for target in targets_of(record)]
    measured = measured_columns([record])
    lines = [
        GroupLine(
            group_words(group),
            [model.cells_of([(name, group)], reasons)[0] for model in models],
            read_group(record, group),
        )
        for group in GROUPS
        if (name, group) in measured
    ]
    heads = [model.label for model in models]
    return {"words": words_of(name), "heads": heads, "lines": lines, "reasons": list(reasons)}


def _metrics(record: RunRecord) -> MetricTable:
    """Every other metric and attack; the relearning curve has its plot."""
    shown, groups = main_metric(record), dict[str, dict[str | None, bool]]()
    for r in record.results:
        if r.name not in (shown, ORACLE) and not (r.group or "").startswith("step "):
            found = groups.setdefault(r.name, {})
            found[r.group] = found.get(r.group, False) or r.value is not None
    measured = {
        name: [group for group, has_value in found.items() if has_value] or list(found)[:1]
        for name, found in groups.items()
    }
    return metric_table(record, measured, words_of, lambda group: humanise(group_words(group).label, capital=True))


def _painted(record: RunRecord, folder: Path) -> Sheet:
    """What the models take for each forgotten class, beside the mean of its pictures."""
    strips = {"Mean of the forget set": ("mean", folder)}
    strips |= {model_label(t): (t, folder) for t in targets_of(record)}
    return sheet_of("Painted by gradient", record.examples, strips)


def _curves(folder: Path) -> dict[str, Any]:
    path = folder / CURVES_NAME
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


# ---- terminal ---------------------------------------------------------------------------------------------------


def print_items(records: RunRecord | Mapping[str, RunRecord], console: Console) -> None:
    """Print one or several runs, one table a request: models in rows, sets in columns."""
    named = named_records(records)
    for section in sections_of(named):
        _print_section(section, console)
    style.say_outcomes(console, named, read_items)
    style.say_cautions(console, cautions_of(named, request_of))
    for label, record in named.items():
        for note in record.notes if record.outcome == "collapsed" else ():
            style.say(console, f"{label}: {note}")


def _print_section(section: Section, console: Console) -> None:
    from rich.text import Text

    name = main_metric(section.first)
    groups = [group for group in GROUPS if (name, group) in section.columns]
    title = Text(f"{section.title}: {words_of(name).label.lower()}, {words_of(name).meaning}")
    heads = [humanise(group_words(group).label, capital=True) for group in groups]
    table = style.table("", *heads, title=title)
    gap = " " if console.width >= LABEL + ONE_LINE * len(groups) else "\n"
    reasons: dict[str, int] = {}
    for line in section.lines:
        texts = []
        cells = line.cells_of([(name, group) for group in groups], reasons)
        for group, cell in zip(groups, cells, strict=True):
            colour = "" if line.is_control else style.STYLES[read_group(line.record, group).tone]
            text = Text(cell.value, style=colour)
            text.append(f"{gap}{cell.interval}" if cell.interval else "", style="dim")
            texts.append(text)
        table.add_row(Text(line.label, style="bold" if line.target == UNLEARNED else ""), *texts)
    console.print(table)
    if reasons:
        style.say(console, f"not measured: {'; '.join(reasons)}", "dim")


ITEMS = Reporter(write=write_report, compare=write_comparison, show=print_items, find=find)
