"""The reports of runs on classifiers and regressors: what went, what stayed, how near to never having learnt it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genunlearn.records import RunRecord, write_text
from genunlearn.reports.cells import as_cell, find_or_reason, named_records, targets_of
from genunlearn.reports.cost import read_cost
from genunlearn.reports.network.compare import Section, sections_of, write_comparison
from genunlearn.reports.network.plots import membership_plot, relearning_plot, sets_plot
from genunlearn.reports.network.reading import (
    GROUPS,
    group_words,
    limits_of,
    main_metric,
    read_group,
    read_items,
    words_of,
)
from genunlearn.reports.page import render_page
from genunlearn.reports.parts import details
from genunlearn.reports.pictures import Sheet, sheet_of
from genunlearn.reports.reporter import Face
from genunlearn.reports.style import STYLES
from genunlearn.reports.wording import ORACLE, ORIGINAL, UNLEARNED, humanise, run_method, run_model, target_words

if TYPE_CHECKING:
    from rich.console import Console

REPORT_NAME, CURVES_NAME = "report.html", "curves.json"


def write_report(record: RunRecord, folder: Path) -> Path:
    """Write ``report.html`` for a run, finished or not; the membership curve is read from ``curves.json`` beside it."""
    folder = Path(folder)
    page = render_page(
        "network/report.html",
        record=record,
        headline=read_items(record),
        method=run_method(record),
        model=run_model(record),
        request=_request(record),
        budgets=record.request.get("attacks") or {},
        sets=_sets(record),
        plot=sets_plot(record),
        metrics=_blocks(record),
        painted=_painted(record, folder),
        relearning=relearning_plot(record),
        membership=membership_plot(_curves(folder).get("membership_roc", {})),
        cost=read_cost(record),
        limits=limits_of(record),
        details=details(record),
    )
    path = folder / REPORT_NAME
    write_text(path, page)
    return path


def _request(record: RunRecord) -> dict[str, str]:
    asked = {key: value for key, value in record.request.items() if key != "attacks" and value not in (None, "")}
    return {key: f"{value:,}" if isinstance(value, int) else str(value) for key, value in asked.items()}


def _sets(record: RunRecord) -> dict[str, Any]:
    """The main metric by set: models in columns, and where the unlearned one stands."""
    name, targets = main_metric(record), targets_of(record)
    reasons: dict[str, int] = {}
    lines = []
    for group in GROUPS:
        found = [(target, find_or_reason(record, name, target, group)) for target in targets]
        if not any(result and result.name == name and result.value is not None for _, result in found):
            continue
        cells = [(target, as_cell(result, reasons)) for target, result in found]
        lines.append({"words": group_words(group), "cells": cells, "reading": read_group(record, group)})
    return {"words": words_of(name), "targets": targets, "lines": lines, "reasons": list(reasons)}


def _blocks(record: RunRecord) -> dict[str, Any]:
    """Every other metric and attack, one block each; the relearning curve has its plot."""
    targets, shown = targets_of(record), main_metric(record)
    reasons: dict[str, int] = {}
    results = [r for r in record.results if r.name not in (shown, ORACLE) and not (r.group or "").startswith("step ")]
    blocks = []
    for name in dict.fromkeys(result.name for result in results):
        groups = list(dict.fromkeys(r.group for r in results if r.name == name))
        with_values = [g for g in groups if any(r.value is not None for r in results if (r.name, r.group) == (name, g))]
        lines = []
        for group in with_values or groups[:1]:
            cells = [(t, as_cell(find_or_reason(record, name, t, group), reasons)) for t in targets]
            lines.append({"words": group_words(group), "cells": cells})
        blocks.append({"words": words_of(name), "lines": lines})
    return {"blocks": blocks, "targets": targets, "reasons": list(reasons)}


def _painted(record: RunRecord, folder: Path) -> Sheet:
    """What the models take for each forgotten class, beside the mean of its pictures."""
    strips = {"Mean of the forget set": ("mean", folder)}
    strips |= {humanise(target_words(t).label, capital=True): (t, folder) for t in targets_of(record)}
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
    for label, record in named.items():
        end = read_items(record)
        sentences = f" {' '.join(end.sentences)}" if len(named) == 1 else ""
        console.print(f"{label}: {end.verdict}.{sentences}", soft_wrap=True, markup=False, highlight=False)
        for note in record.notes if record.outcome == "collapsed" else ():
            console.print(f"{label}: {note}", soft_wrap=True, markup=False, highlight=False)


def _print_section(section: Section, console: Console) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    name = main_metric(section.first)
    groups = [group for group in GROUPS if (name, group) in section.columns]
    title = Text(f"{section.title}: {words_of(name).label.lower()}, {words_of(name).meaning}")
    heads = [humanise(group_words(group).label, capital=True) for group in groups]
    table = Table("", *heads, box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False, title=title, title_justify="left")
    reasons: dict[str, int] = {}
    for line in section.lines:
        texts = []
        for group in groups:
            cell = as_cell(find_or_reason(line.record, name, line.target, group), reasons)
            is_own = line.target not in (ORIGINAL, ORACLE)
            style = STYLES[read_group(line.record, group).tone] if is_own else ""
            text = Text(cell.value, style=style)
            text.append(f" {cell.interval}" if cell.interval else "", style="dim")
            texts.append(text)
        table.add_row(Text(line.label, style="bold" if line.target == UNLEARNED else ""), *texts)
    console.print(table)
    if reasons:
        console.print(f"not measured: {'; '.join(reasons)}", style="dim", markup=False, highlight=False)


ITEMS = Face(write=write_report, compare=write_comparison, show=print_items)
