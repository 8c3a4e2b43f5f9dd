"""The reports of runs on recommenders: what went, what stayed, how near to never having known it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genunlearn.records import RunRecord
from genunlearn.reports import style
from genunlearn.reports.cells import Line, measured_columns, named_records, targets_of
from genunlearn.reports.parts import GroupLine, MetricTable, cautions_of, metric_table, write_report_page
from genunlearn.reports.recommender.compare import sections_of, write_comparison
from genunlearn.reports.recommender.plots import cutoffs_plot, groups_plot, relearning_plot
from genunlearn.reports.recommender.reading import (
    AT,
    GROUPS,
    MAIN,
    group_words,
    limits_of,
    read_group,
    read_rankings,
    request_of,
    words_of,
)
from genunlearn.reports.reporter import Reporter
from genunlearn.reports.sections import Section
from genunlearn.reports.wording import ORACLE, UNLEARNED, humanise, model_label

if TYPE_CHECKING:
    from rich.console import Console

LABEL, ONE_LINE = 14, 24
"""Columns of a row's head, and of a cell that has its interval beside the value."""


def write_report(record: RunRecord, folder: Path) -> Path:
    """Write ``report.html`` for a run, finished or not."""
    return write_report_page(
        "recommender/report.html",
        record,
        Path(folder),
        headline=read_rankings(record),
        budgets=record.request.get("attacks") or {},
        sets=_sets(record),
        plot=groups_plot(record),
        cutoffs=cutoffs_plot(record),
        relearning=relearning_plot(record),
        metrics=_metrics(record),
        limits=limits_of(record),
    )


def _sets(record: RunRecord) -> dict[str, Any]:
    """Recall@20 by group: models in columns, and where the unlearned one stands."""
    reasons: dict[str, int] = {}
    models = [Line(model_label(target), target, record) for target in targets_of(record)]
    measured = measured_columns([record])
    lines = [
        GroupLine(
            group_words(group),
            [model.cells_of([(MAIN, f"{group}@{AT}")], reasons)[0] for model in models],
            read_group(record, group),
        )
        for group in GROUPS
        if (MAIN, f"{group}@{AT}") in measured
    ]
    return {"heads": [model.label for model in models], "lines": lines, "reasons": list(reasons)}


def _metrics(record: RunRecord) -> MetricTable:
    """Every metric and attack; relearning has its plot."""
    groups: dict[str, dict[str | None, bool]] = {}
    for r in record.results:
        if (r.name, r.target, r.group) != (MAIN, ORACLE, None) and not (r.group or "").startswith("step "):
            found = groups.setdefault(r.name, {})
            found[r.group] = found.get(r.group, False) or r.value is not None
    measured = {
        name: [group for group, has_value in found.items() if has_value] or list(found)[:1]
        for name, found in groups.items()
    }
    return metric_table(record, measured, words_of, lambda group: humanise(group_words(group).label, capital=True))


# ---- terminal ---------------------------------------------------------------------------------------------------


def print_rankings(records: RunRecord | Mapping[str, RunRecord], console: Console) -> None:
    """Print one or several runs, one table a request: models in rows, groups in columns."""
    named = named_records(records)
    for section in sections_of(named):
        _print_section(section, console)
    style.say_outcomes(console, named, read_rankings)
    style.say_cautions(console, cautions_of(named, request_of))
    for label, record in named.items():
        for note in record.notes if record.outcome == "collapsed" else ():
            style.say(console, f"{label}: {note}")


def _print_section(section: Section, console: Console) -> None:
    from rich.text import Text

    groups = [group for group in GROUPS if (MAIN, f"{group}@{AT}") in section.columns]
    title = Text(f"{section.title}: Recall@{AT}, {words_of(MAIN).meaning}")
    table = style.table("", *(humanise(group_words(g).label, capital=True) for g in groups), title=title)
    gap = " " if console.width >= LABEL + ONE_LINE * len(groups) else "\n"
    reasons: dict[str, int] = {}
    for line in section.lines:
        texts = []
        cells = line.cells_of([(MAIN, f"{group}@{AT}") for group in groups], reasons)
        for group, cell in zip(groups, cells, strict=True):
            colour = "" if line.is_control else style.STYLES[read_group(line.record, group).tone]
            text = Text(cell.value, style=colour)
            text.append(f"{gap}{cell.interval}" if cell.interval else "", style="dim")
            texts.append(text)
        table.add_row(Text(line.label, style="bold" if line.target == UNLEARNED else ""), *texts)
    console.print(table)
    if reasons:
        style.say(console, f"not measured: {'; '.join(reasons)}", "dim")


RANKINGS = Reporter(write=write_report, compare=write_comparison, show=print_rankings)
