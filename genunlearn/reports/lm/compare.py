"""Several runs side by side: ``compare.html`` and ``compare.md``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genunlearn.data.lm.facts import FORGET_GROUPS, KEEP_GROUPS
from genunlearn.errors import DataError
from genunlearn.ops import intervals
from genunlearn.records import COMPLETED, Result, RunRecord, write_text
from genunlearn.reports.cells import Cell, as_cell, find_or_reason, targets_of
from genunlearn.reports.cost import read_cost
from genunlearn.reports.headline import Reading
from genunlearn.reports.lm.figures import forget_keep_plot
from genunlearn.reports.lm.reading import headline
from genunlearn.reports.lm.scope import Grid, scope_grid, scope_table
from genunlearn.reports.lm.wording import group_words, metric_words, request_label
from genunlearn.reports.markdown import render_markdown, table_of
from genunlearn.reports.numbers import MISSING, format_number, format_seconds
from genunlearn.reports.page import render_page
from genunlearn.reports.wording import UNLEARNED, run_model

HTML_NAME, MARKDOWN_NAME = "compare.html", "compare.md"
POOLED = "neighbours"
POOLED_FROM = tuple(group for group in KEEP_GROUPS if group != "rest")
SAME_LEVEL = 0.05
"""Runs whose forget recall lies further apart than this did not forget to the same degree."""


@dataclass(frozen=True)
class RunRow:
    """One run beside the table: how it ended and what it cost."""

    label: str
    outcome: Reading
    cost: Mapping[str, str]


def write_comparison(records: Mapping[str, RunRecord], folder: Path) -> Path:
    """Write ``compare.html`` and ``compare.md`` for several runs.

    Methods stand in rows between the original and the oracle, scope groups and cost in columns. A plot sets what
    still is told of the fact against what stayed around it.

    Args:
        records: Runs by the label that each shall have.
        folder: Where the two files go.

    Returns:
        Path of ``compare.html``.

    Raises:
        DataError: There is no run to compare.
    """
    if not records:
        raise DataError("nothing to compare: give at least one folder that a run has written")
    pooled = {label: with_neighbours(record) for label, record in records.items()}
    grid = scope_grid(pooled)
    runs = [_run_row(label, record) for label, record in records.items()]
    costs = list(dict.fromkeys(name for run in runs for name in run.cost))
    context = {
        "title": _title(records),
        "grid": grid,
        "words": metric_words(grid.metric),
        "runs": runs,
        "costs": costs,
        "cautions": cautions(records, grid.metric),
        "group_words": group_words,
        "further": _further(records, grid),
    }
    folder = Path(folder)
    write_text(folder / MARKDOWN_NAME, _markdown(context, pooled))
    write_text(folder / HTML_NAME, render_page("lm/compare.html", plot=forget_keep_plot(grid, POOLED), **context))
    return folder / HTML_NAME


def with_neighbours(record: RunRecord) -> RunRecord:
    """The record with the recall of all neighbours taken together, each question counting once.

    Intervals are exact ones of the pooled share. A record that has such results keeps its own.
    """
    if any(result.group == POOLED for result in record.results):
        return record
    extra = (_pool(record, target) for target in targets_of(record))
    return dataclasses.replace(record, results=[*record.results, *(result for result in extra if result)])


def _pool(record: RunRecord, target: str) -> Result | None:
    parts = [record.find("recall", target, group) for group in POOLED_FROM]
    counts = [(part.value * part.n, part.n) for part in parts if part and part.value is not None and part.n]
    if not counts:
        return None
    n = sum(of for _, of in counts)
    value, low, high = intervals.share(round(sum(told for told, _ in counts)), n)
    return Result(
        name="recall", target=target, group=POOLED, value=value, low=low, high=high, n=n, higher_is_better=True
    )


def cautions(records: Mapping[str, RunRecord], metric: str) -> list[str]:
    """Why these runs cannot be compared without further thought, if so."""
    found = []
    for what, values in (
        ("the model", {run_model(record) for record in records.values()}),
        ("the request", {request_label(record) for record in records.values()}),
        *((f"the hash of {key}", _hashes(records, key)) for key in ("base", "request", "prompts")),
    ):
        if len(values) > 1:
            found.append(f"The runs differ in {what}.")
    unfinished = [label for label, record in records.items() if record.status != COMPLETED]
    if unfinished:
        found.append(f"Not finished: {', '.join(unfinished)}.")
    levels = [
        result.value
        for record in records.values()
        if (result := record.find(metric, UNLEARNED, FORGET_GROUPS[-1])) and result.value is not None
    ]
    if levels and max(levels) - min(levels) > SAME_LEVEL:
        found.append(
            "The runs did not forget to the same degree: what is left of the fact in new phrasings goes from "
            f"{format_number(min(levels))} to {format_number(max(levels))}. A run that forgets less keeps its "
            "neighbours more easily."
        )
    return found


def _hashes(records: Mapping[str, RunRecord], key: str) -> set[str]:
    return {str(record.hashes[key]) for record in records.values() if record.hashes.get(key)}


def _title(records: Mapping[str, RunRecord]) -> str:
    labels = {request_label(record) for record in records.values()}
    return labels.pop() if len(labels) == 1 else f"{len(records)} runs"


def _run_row(label: str, record: RunRecord) -> RunRow:
    end = headline(record)
    cost = read_cost(record)
    unlearning = {phase.name: phase.seconds for phase in cost.phases}.get("unlearn")
    before = {} if unlearning is None else {"Time to unlearn": format_seconds(unlearning)}
    return RunRow(label, Reading(end.tone, end.verdict), before | cost.items)


def _further(records: Mapping[str, RunRecord], grid: Grid) -> dict[str, Any]:
    """Other metrics on the held-out fact, and those that belong to no scope group, one column each."""
    wanted = [
        (result.name, result.group)
        for record in records.values()
        for result in record.results
        if result.value is not None
        and result.name != grid.metric
        and (result.group == FORGET_GROUPS[-1] or result.group not in grid.groups)
    ]
    columns = list(dict.fromkeys(wanted))
    reasons: dict[str, int] = {}
    rows: list[tuple[str, str, list[Cell]]] = [
        (
            row.label,
            row.kind,
            [as_cell(find_or_reason(row.record, name, row.kind, group), reasons) for name, group in columns],
        )
        for row in grid.rows
    ]
    return {"columns": [metric_words(name) for name, _ in columns], "rows": rows, "reasons": list(reasons)}


def _markdown(context: Mapping[str, Any], records: Mapping[str, RunRecord]) -> str:
    costs, further = context["costs"], context["further"]
    runs = [[run.label, run.outcome.text, *(run.cost.get(name, MISSING) for name in costs)] for run in context["runs"]]
    others = [[label, *(cell.text for cell in cells)] for label, _, cells in further["rows"]]
    return render_markdown(
        "lm/compare.md",
        scope=scope_table(records),
        runs_table=table_of(["Run", "Outcome", *costs], runs),
        further_table=table_of(["Model", *(words.label for words in further["columns"])], others),
        **context,
    )
