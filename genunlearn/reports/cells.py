"""The cells of tables: one number with its interval, or the reason why there is none; whose they are."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from genunlearn.records import Result, RunRecord
from genunlearn.reports.numbers import MISSING, format_estimate, format_interval, format_number, why_missing
from genunlearn.reports.wording import ORACLE, ORIGINAL, UNLEARNED, run_method, run_model

Records = RunRecord | Sequence[RunRecord] | Mapping[str, RunRecord]
Column = tuple[str, str | None]
"""Name and group of a result."""


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


def in_order(groups: Iterable[str | None], order: Sequence[str] = ()) -> tuple[str | None, ...]:
    """Groups without duplicates: those of `order` as there, others behind them as they come."""
    unique = list(dict.fromkeys(groups))
    known = {group: place for place, group in enumerate(order)}
    return tuple(sorted(unique, key=lambda group: known.get(group or "", len(known) + unique.index(group))))


def groups_of(results: Sequence[Result], order: Sequence[str] = ()) -> tuple[str | None, ...]:
    """The groups of some results, see `in_order`; a reason given for all groups at once is no group of its own."""
    groups = in_order((result.group for result in results), order)
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


def targets_of(record: RunRecord) -> tuple[str, ...]:
    """The models of a record in order: original, unlearned or the methods by name, oracle.

    Before, after and oracle are always there: where one was not measured, readers must see that.
    """
    known = (ORIGINAL, UNLEARNED, ORACLE)
    methods = dict.fromkeys(r.target for r in record.results if r.target not in known)
    unlearned = (UNLEARNED,) if not methods or any(r.target == UNLEARNED for r in record.results) else ()
    return (ORIGINAL, *unlearned, *methods, ORACLE)


def as_cell(result: Result | None, reasons: dict[str, int]) -> Cell:
    """The cell of a result; a reason for a missing value gets the next number in `reasons` if it is new."""
    if result is not None and result.value is not None:
        return Cell(result)
    return Cell(result, reasons.setdefault(why_missing(result), len(reasons) + 1))


# ---- several runs -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """One model of a table of several runs: whose record it stands in, and as which target."""

    label: str
    target: str
    record: RunRecord

    @property
    def is_control(self) -> bool:
        """Whether this is an original or an oracle, which nothing has changed."""
        return self.target in (ORIGINAL, ORACLE)

    def cells_of(self, columns: Iterable[Column], reasons: dict[str, int]) -> tuple[Cell, ...]:
        """One cell a column."""
        found = (find_or_reason(self.record, name, self.target, group) for name, group in columns)
        return tuple(as_cell(result, reasons) for result in found)


def lines_of(records: Mapping[str, RunRecord], names: Container[str], controls: tuple[str, str]) -> tuple[Line, ...]:
    """Every run between the originals and the oracles; a control that runs share stands once.

    Controls are shared by runs on the same model with the same request that measured the same values.

    Args:
        records: Runs by the label of their rows.
        names: Metrics whose values count.
        controls: What an original and an oracle are called.
    """
    runs = (Line(label, UNLEARNED, record) for label, record in records.items())
    original, oracle = (
        _controls(records, names, target, label) for target, label in zip((ORIGINAL, ORACLE), controls, strict=True)
    )
    return (*original, *runs, *oracle)


def _controls(records: Mapping[str, RunRecord], names: Container[str], target: str, label: str) -> list[Line]:
    """Runs without the control count only if all lack it."""
    shared: dict[tuple, tuple[RunRecord, list[str]]] = {}
    for run, record in records.items():
        found = [r for r in record.results if r.target == target and r.name in names and r.value is not None]
        values = tuple(sorted((r.name, str(r.group), r.value, r.n) for r in found))
        key = (values, *asked_of(record)) if values else ()
        shared.setdefault(key, (record, []))[1].append(run)
    if len(shared) > 1:
        shared.pop((), None)
    is_lone = len(shared) == 1
    return [
        Line(label if is_lone else f"{label} of {', '.join(runs)}", target, record) for record, runs in shared.values()
    ]


def asked_of(record: RunRecord) -> tuple[str, str, str]:
    """What makes runs comparable: the model, its weights, and the request."""
    request = record.hashes.get("request") or json.dumps(record.request, sort_keys=True, default=str)
    return run_model(record), str(record.hashes.get("base", "")), str(request)


def has_values(record: RunRecord, target: str) -> bool:
    """Whether anything was measured on a model."""
    return any(result.target == target and result.value is not None for result in record.results)


def measured_columns(records: Sequence[RunRecord]) -> list[Column]:
    """Every name and group that some model has a value for, metric by metric."""
    found = dict.fromkeys((r.name, r.group) for record in records for r in record.results if r.value is not None)
    names = list(dict.fromkeys(name for name, _ in found))
    return sorted(found, key=lambda column: names.index(column[0]))


def shared_n(cells: Iterable[Cell]) -> int | None:
    """The n behind all cells that have a value; None where they differ."""
    sizes = {cell.n for cell in cells} - {None}
    return sizes.pop() if len(sizes) == 1 else None
