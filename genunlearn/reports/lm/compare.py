"""Several runs side by side: ``compare.html`` and ``compare.md``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genunlearn.data.lm.facts import FORGET_GROUPS, KEEP_GROUPS
from genunlearn.ops import intervals
from genunlearn.records import Result, RunRecord
from genunlearn.reports.cells import Column, targets_of
from genunlearn.reports.lm.board import COLUMNS, is_benchmark, write_board
from genunlearn.reports.lm.figures import forget_keep_plot
from genunlearn.reports.lm.reading import headline
from genunlearn.reports.lm.scope import Grid, legend_of, scope_grid, scope_table
from genunlearn.reports.lm.wording import group_words, metric_words, request_label
from genunlearn.reports.markdown import table_of
from genunlearn.reports.numbers import format_number
from genunlearn.reports.parts import cautions_of, check_any, run_table, title_of, write_comparison_pages
from genunlearn.reports.wording import UNLEARNED, Words, humanise

POOLED = "neighbours"
POOLED_FROM = tuple(group for group in KEEP_GROUPS if not group.startswith("rest"))
SAME_LEVEL = 0.05
"""Runs whose forget recall lies further apart than this did not forget to the same degree."""


def write_comparison(records: Mapping[str, RunRecord], folder: Path) -> Path:
    """Write ``compare.html`` and ``compare.md`` for several runs, and the leaderboard where they ran a benchmark.

    Methods stand in rows between the original and the oracle, scope groups and cost in columns. A plot sets what
    still is told of the fact against what stayed around it.

    Args:
        records: Runs by the label that each shall have.
        folder: Where the files go.

    Returns:
        Path of ``compare.html``.

    Raises:
        DataError: There is no run to compare.
    """
    check_any(records)
    pooled = {label: with_neighbours(record) for label, record in records.items()}
    grid = scope_grid(pooled)
    further = _further(records, grid)
    write_board(records, folder)
    rows = [(row, [(cell, grid.reading(row, n)) for n, cell in enumerate(row.cells)]) for row in grid.rows]
    others = [[row.label, *(cell.text for cell, _ in cells)] for row, cells in further["rows"]]
    heads = ["Model", *(words.label for words in further["columns"])]
    return write_comparison_pages(
        "lm",
        folder,
        html={
            "plot": forget_keep_plot(grid, POOLED),
            "legend": legend_of(grid),
            "heads": [_head(grid, place) for place, _ in enumerate(grid.groups)],
            "rows": rows,
        },
        markdown={"scope": scope_table(pooled), "further_table": table_of(heads, others, further["reasons"])},
        title=title_of(map(request_label, records.values())),
        count=len(records),
        grid=grid,
        words=metric_words(grid.metric),
        runs=run_table(records, headline),
        cautions=cautions(records, grid.metric),
        further=further,
    )


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
    found = cautions_of(records, request_label)
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


ON_FACTS = "On the fact in new phrasings, and on text that has nothing to do with it."
ON_BENCHMARKS = "On the forget set, but for the utility, which is that of what must stay."


def _further(records: Mapping[str, RunRecord], grid: Grid) -> dict[str, Any]:
    """Other metrics, one column each: those of the leaderboard, or those of the held-out fact and of no group."""
    is_board = any(map(is_benchmark, records.values()))
    wanted = COLUMNS if is_board else _beside(records, grid)
    columns = list(dict.fromkeys(wanted))
    reasons: dict[str, int] = {}
    rows = [(row, [(cell, None) for cell in row.cells_of(columns, reasons)]) for row in grid.rows]
    about = ON_BENCHMARKS if is_board else ON_FACTS
    heads = [metric_words(name) for name, _ in columns]
    return {"about": about, "columns": heads, "rows": rows, "reasons": list(reasons)}


def _beside(records: Mapping[str, RunRecord], grid: Grid) -> list[Column]:
    """Metrics of the held-out fact, and those that belong to no scope group."""
    return [
        (result.name, result.group)
        for record in records.values()
        for result in record.results
        if result.value is not None
        and result.name != grid.metric
        and (result.group == FORGET_GROUPS[-1] or result.group not in grid.groups)
    ]


def _head(grid: Grid, place: int) -> Words:
    return Words(humanise(group_words(grid.groups[place]).label, capital=True), grid.goal(place).value)
