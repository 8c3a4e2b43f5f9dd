"""The table of language models: models in rows, scope groups in columns, one number with interval a cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from genunlearn.data.lm.facts import GROUPS
from genunlearn.records import RunRecord
from genunlearn.reports.cells import Cell, Records, as_cell, find_or_reason, groups_of, named_records, targets_of
from genunlearn.reports.headline import Reading
from genunlearn.reports.lm.reading import read_change
from genunlearn.reports.lm.wording import goal_of, group_words
from genunlearn.reports.markdown import Verbatim, escape_markdown, table_of
from genunlearn.reports.wording import ORACLE, ORIGINAL, UNLEARNED, Goal, humanise, target_words

MAIN_METRIC = "recall"
"""The metric that a scope table shows where the records have it."""


@dataclass(frozen=True)
class Row:
    """One model: `kind` is ``original``, ``unlearned`` or ``oracle``, `label` what readers call it."""

    label: str
    kind: str
    cells: tuple[Cell, ...]
    record: RunRecord


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
        if row.kind in (ORIGINAL, ORACLE):
            return None
        before = row.record.find(self.metric, ORIGINAL, self.groups[place])
        return read_change(before, row.cells[place].result)


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
    lines = _single(named) if isinstance(records, RunRecord) else _side_by_side(named, metric)
    reasons: dict[str, int] = {}
    rows = []
    for label, kind, target, record in lines:
        found = (find_or_reason(record, metric, target, group) for group in groups)
        rows.append(Row(label, kind, tuple(as_cell(result, reasons) for result in found), record))
    return Grid(metric, groups, tuple(rows), tuple(reasons))


def main_metric(records: Sequence[RunRecord]) -> str:
    """The metric that a table of these records shows."""
    names = dict.fromkeys(result.name for record in records for result in record.results)
    return next((name for name in (MAIN_METRIC, *names) if name in names), MAIN_METRIC)


def _single(named: Mapping[str, RunRecord]) -> list[tuple[str, str, str, RunRecord]]:
    (record,) = named.values()
    return [(target_words(target).label, target, target, record) for target in targets_of(record)]


def _side_by_side(named: Mapping[str, RunRecord], metric: str) -> list[tuple[str, str, str, RunRecord]]:
    return [
        *_shared(named, metric, ORIGINAL),
        *((label, UNLEARNED, UNLEARNED, record) for label, record in named.items()),
        *_shared(named, metric, ORACLE),
    ]


def _shared(named: Mapping[str, RunRecord], metric: str, target: str) -> list[tuple[str, str, str, RunRecord]]:
    """One line for all runs that measured the same thing; runs without the target count only if all lack it."""
    by_numbers: dict[tuple, tuple[RunRecord, list[str]]] = {}
    for label, record in named.items():
        results = [r for r in record.results if r.name == metric and r.target == target]
        numbers = tuple(sorted((str(r.group), r.value, r.n) for r in results if r.value is not None))
        by_numbers.setdefault(numbers, (record, []))[1].append(label)
    if len(by_numbers) > 1:
        by_numbers.pop((), None)
    lone = len(by_numbers) == 1
    return [
        (target if lone else f"{target} of {', '.join(labels)}", target, target, record)
        for record, labels in by_numbers.values()
    ]


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
    table = table_of(header, rows)
    notes = [f"({number}) {escape_markdown(reason)}" for number, reason in enumerate(grid.reasons, start=1)]
    return Verbatim("\n".join([table, *(["", f"Not measured: {'; '.join(notes)}."] if notes else [])]))
