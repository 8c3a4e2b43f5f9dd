"""The reports of runs on classifiers and regressors: what went, what stayed, how near to never having learnt it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from genunlearn.records import RunRecord
from genunlearn.reports.cells import Line, measured_columns, targets_of
from genunlearn.reports.network.compare import COMPARISON
from genunlearn.reports.network.findings import find
from genunlearn.reports.network.plots import membership_plot, sets_plot
from genunlearn.reports.network.reading import (
    GROUPS,
    group_words,
    limits_of,
    main_metric,
    read_group,
    read_items,
    words_of,
)
from genunlearn.reports.parts import GroupLine, MetricTable, metric_table, write_report_page
from genunlearn.reports.pictures import Sheet, sheet_of
from genunlearn.reports.relearning import relearning_plot
from genunlearn.reports.reporter import Reporter
from genunlearn.reports.wording import ORACLE, humanise, model_label

CURVES_NAME = "curves.json"
RELEARNING = {"accuracy": "Accuracy, forgotten kind", "loss": "Loss, forgotten kind"}


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


ITEMS = Reporter(write=write_report, compare=COMPARISON.write, show=COMPARISON.show, find=find)
