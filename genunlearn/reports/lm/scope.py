"""The table of language models: models in rows, scope groups in columns, one number with interval a cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from genunlearn.data.lm.facts import GROUPS
from genunlearn.records import RunRecord
from genunlearn.reports.cells import Cell, Line, Records, groups_of, lines_of, named_records, targets_of
from genunlearn.reports.headline import SYMBOLS, Reading
from genunlearn.reports.lm.reading import RULE, read_change
from genunlearn.reports.lm.wording import goal_of, group_words, metric_words
from genunlearn.reports.markdown import Verbatim, table_of
from genunlearn.reports.parts import MetricTable, metric_table
from genunlearn.reports.wording import ORACLE, ORIGINAL, Goal, humanise, target_words

MAIN_METRIC = "recall"
"""The metric that a scope table shows where the records have it."""


@dataclass(frozen=True)
class Row(Line):
    """One model with its cells."""

    cells: tuple[Cell, ...] = ()


@dataclass(frozen=True)
class Grid:
    """Models by groups.

    Attributes:
        metric: Name of the metric.
        groups: One a column.
        rows: One a model.
        reasons: Why cells are empty; a cell's `footnote` counts from 1.
    """

    metric: str
    groups: tuple[str | None, ...]
    rows: tuple[Row, ...]
    reasons: tuple[str, ...] = ()

    def goal(self, place: int) -> Goal:
        """Which way the numbers of the group at `place` should move."""
        results = (row.cells[place].result for row in self.rows)
        return next((goal_of(result) for result in results if result), Goal.NONE)

    def reading(self, row: Row, place: int) -> Reading | None:
        """What became of a group in a row; None for the controls, which nothing has changed."""
        if row.is_control:
            return None
        before = row.record.find(self.metric, ORIGINAL, self.groups[place])
        return read_change(before, row.cells[place].result)


def legend_of(grid: Grid) -> dict[str, str]:
    """What the marks in a table stand for, as far as it has them."""
    places = [(row, place) for row in grid.rows for place, _ in enumerate(grid.groups)]
    tones = {reading.tone for row, place in places if (reading := grid.reading(row, place))}
    return {SYMBOLS[tone]: text for tone, text in RULE.items() if tone in tones}


def scope_grid(records: Records, metric: str | None = None) -> Grid:
    """Lay the results of one or several runs out by model and group.

    A single run gives the rows before, after and oracle. Several runs give one row each, between the originals and
    the oracles, which appear once where the runs share them.

    Args:
        records: One record, several, or several by the name that their row shall have.
        metric: Metric to show; recall, where the records have it, if None.
    """
    named = named_records(records)
    metric = metric or main_metric(list(named.values()))
    groups = groups_of([r for record in named.values() for r in record.results if r.name == metric], GROUPS)
    if isinstance(records, RunRecord):
        lines = tuple(Line(target_words(target).label, target, records) for target in targets_of(records))
    else:
        lines = lines_of(named, {metric}, (ORIGINAL, ORACLE))
    reasons: dict[str, int] = {}
    columns = [(metric, group) for group in groups]
    rows = tuple(Row(line.label, line.target, line.record, line.cells_of(columns, reasons)) for line in lines)
    return Grid(metric, groups, rows, tuple(reasons))


def main_metric(records: Sequence[RunRecord]) -> str:
    """The metric that a table of these records shows."""
    names = dict.fromkeys(result.name for record in records for result in record.results)
    return next((name for name in (MAIN_METRIC, *names) if name in names), MAIN_METRIC)


def scope_table(records: Records, metric: str | None = None) -> Verbatim:
    """One or several runs as a table: models in rows, scope groups in columns.

    Args:
        records: One record, several, or several by the name that their row shall have.
        metric: Metric to show; recall, where it was measured, if None.

    Returns:
        A GitHub Markdown table, with the reasons for empty cells below it.
    """
    grid = scope_grid(records, metric)
    header = ["Model", *(humanise(group_words(group).label, capital=True) for group in grid.groups)]
    rows = [[row.label, *(cell.text for cell in row.cells)] for row in grid.rows]
    return table_of(header, rows, grid.reasons)


def other_metrics(record: RunRecord, shown: str) -> MetricTable:
    """Every metric but the one that is `shown` in the scope table."""
    names = dict.fromkeys(result.name for result in record.results if result.name != shown)
    groups = {name: groups_of([r for r in record.results if r.name == name], GROUPS) for name in names}
    return metric_table(
        record, groups, metric_words, lambda group: humanise(group_words(group).label, capital=True), goal_of
    )
