"""The table that every report shares: models in rows, scope groups in columns, one number with interval a cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from genunlearn.records import Result, RunRecord
from genunlearn.reports.lm.reading import Reading, read_change
from genunlearn.reports.numbers import MISSING, format_estimate, format_interval, format_number, why_missing
from genunlearn.reports.wording import (
    ORACLE,
    ORIGINAL,
    UNLEARNED,
    Goal,
    goal_of,
    in_order,
    run_method,
    target_words,
)

Records = RunRecord | Sequence[RunRecord] | Mapping[str, RunRecord]

MAIN_METRICS = ("recall", "accuracy", "ua")
"""The metric that a scope table shows, the first one that the records have."""


@dataclass(frozen=True)
class Cell:
    """One number, or the reason why there is none.

    Attributes:
        result: The result behind the cell, if the record has one.
        footnote: Number of the reason below the table; None where there is a value.
    """

    result: Result | None
    footnote: int | None = None

    @property
    def value(self) -> str:
        """The value alone, or that it was not measured."""
        if self.result is None or self.result.value is None:
            return MISSING
        return format_number(self.result.value)

    @property
    def interval(self) -> str:
        """The interval alone; empty where there is none."""
        return format_interval(self.result) if self.result and self.result.value is not None else ""

    @property
    def n(self) -> int | None:
        """How many items stand behind the value; None where there is no value."""
        return self.result.n if self.result and self.result.value is not None else None

    @property
    def text(self) -> str:
        """The whole cell in one line: ``0.96 [0.90, 0.99] (n=48)`` or ``not measured (1)``."""
        if self.footnote is not None:
            return f"{MISSING} ({self.footnote})"
        return format_estimate(self.result)


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
        metric: Metric to show; the first of `MAIN_METRICS` that the records have if None.
    """
    named = named_records(records)
    metric = metric or main_metric(list(named.values()))
    groups = groups_of([r for record in named.values() for r in record.results if r.name == metric])
    lines = _single(named) if isinstance(records, RunRecord) else _side_by_side(named, metric)
    reasons: dict[str, int] = {}
    rows = []
    for label, kind, target, record in lines:
        found = (find_or_reason(record, metric, target, group) for group in groups)
        rows.append(Row(label, kind, tuple(as_cell(result, reasons) for result in found), record))
    return Grid(metric, groups, tuple(rows), tuple(reasons))


def groups_of(results: Sequence[Result]) -> tuple[str | None, ...]:
    """The groups of some results in order; a reason given for all groups at once is no group of its own."""
    groups = in_order(result.group for result in results)
    values = {result.group for result in results if result.value is not None}
    return tuple(group for group in groups if group is not None or None in values or len(groups) == 1)


def find_or_reason(record: RunRecord, name: str, target: str, group: str | None) -> Result | None:
    """The result asked for, or the one that says why this model was not measured at all, or None."""
    if found := record.find(name, target, group):
        return found
    return next((r for r in record.results if r.target == target and r.value is None and r.group is None), None)


def named_records(records: Records) -> dict[str, RunRecord]:
    """Records by label: the given names, or the methods' names, numbered where two are the same."""
    if isinstance(records, RunRecord):
        return {run_method(records): records}
    if isinstance(records, Mapping):
        return dict(records)
    named: dict[str, RunRecord] = {}
    for record in records:
        label, count = run_method(record), 1
        while label in named:
            count += 1
            label = f"{run_method(record)} ({count})"
        named[label] = record
    return named


def main_metric(records: Sequence[RunRecord]) -> str:
    """The metric that a table of these records shows."""
    names = dict.fromkeys(result.name for record in records for result in record.results)
    return next((name for name in (*MAIN_METRICS, *names) if name in names), MAIN_METRICS[0])


def targets_of(record: RunRecord) -> tuple[str, ...]:
    """The models of a record in order: original, unlearned or the methods by name, oracle.

    Before, after and oracle are always there: where one was not measured, readers must see that.
    """
    known = (ORIGINAL, UNLEARNED, ORACLE)
    methods = dict.fromkeys(r.target for r in record.results if r.target not in known)
    unlearned = (UNLEARNED,) if not methods or any(r.target == UNLEARNED for r in record.results) else ()
    return (ORIGINAL, *unlearned, *methods, ORACLE)


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


def as_cell(result: Result | None, reasons: dict[str, int]) -> Cell:
    """The cell of a result; a reason for a missing value gets the next number in `reasons` if it is new."""
    if result is not None and result.value is not None:
        return Cell(result)
    return Cell(result, reasons.setdefault(why_missing(result), len(reasons) + 1))
