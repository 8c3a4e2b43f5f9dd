"""The reports of runs on recommenders: what went, what stayed, how near to never having known it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from genunlearn.records import RunRecord
from genunlearn.reports.cells import Line, measured_columns, targets_of
from genunlearn.reports.parts import GroupLine, MetricTable, metric_table, write_report_page
from genunlearn.reports.recommender.compare import COMPARISON
from genunlearn.reports.recommender.plots import cutoffs_plot, groups_plot, relearning_plot
from genunlearn.reports.recommender.reading import (
    AT,
    GROUPS,
    MAIN,
    group_words,
    limits_of,
    read_group,
    read_rankings,
    words_of,
)
from genunlearn.reports.reporter import Reporter
from genunlearn.reports.wording import ORACLE, humanise, model_label


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


RANKINGS = Reporter(write=write_report, compare=COMPARISON.write, show=COMPARISON.show)
