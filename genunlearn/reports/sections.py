"""Runs divided by request, each part one table of a comparison, for families that stand beside oracles."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass

from genunlearn.records import RunRecord
from genunlearn.reports.cells import Column, Line, lines_of, measured_columns
from genunlearn.reports.numbers import format_number, format_seconds
from genunlearn.reports.parts import cautions_of
from genunlearn.reports.wording import UNLEARNED, run_method


@dataclass(frozen=True)
class Section:
    """Runs with the same request: what stands in one table.

    Attributes:
        title: The request in words.
        lines: The original, every run, the oracle.
        columns: What at least one model has a value for.
        cautions: Why the runs cannot be compared without further thought, if so.
    """

    title: str
    lines: tuple[Line, ...]
    columns: tuple[Column, ...]
    cautions: tuple[str, ...]

    @property
    def first(self) -> RunRecord:
        """One of its runs."""
        return self.lines[0].record

    @property
    def runs(self) -> dict[str, RunRecord]:
        """Its runs by label."""
        return {line.label: line.record for line in self.lines if line.target == UNLEARNED}


def divide(
    records: Mapping[str, RunRecord],
    request_of: Callable[[RunRecord], str],
    main: Container[str],
    columns: Sequence[Column],
) -> list[Section]:
    """The runs divided by request, in the order in which they come.

    Args:
        records: The runs by label.
        request_of: The request of a run in words.
        main: Metrics by which an original or an oracle counts as measured.
        columns: What may be shown, in order.
    """
    by_request: dict[str, dict[str, RunRecord]] = {}
    for label, record in records.items():
        by_request.setdefault(request_of(record), {})[label] = record
    sections = []
    for title, labelled in by_request.items():
        runs = _by_method(labelled)
        measured = measured_columns(list(runs.values()))
        lines = lines_of(runs, main, ("Before", "Oracle"))
        shown = tuple(column for column in columns if column in measured)
        sections.append(Section(title, lines, shown, tuple(cautions_of(runs, request_of))))
    return sections


def _by_method(runs: Mapping[str, RunRecord]) -> dict[str, RunRecord]:
    """The runs by the names of their methods, where these tell them apart."""
    names = [run_method(record) for record in runs.values()]
    return dict(zip(names, runs.values(), strict=True)) if len(set(names)) == len(names) else dict(runs)


def costs_of(record: RunRecord) -> dict[str, str]:
    """What a run cost, by name."""
    seconds = record.cost.get("unlearning_cpu_seconds")
    cost = {} if seconds is None else {"CPU time to unlearn": format_seconds(seconds)}
    if speed := record.cost.get("speed_up_over_retraining"):
        cost["Speed-up over retraining"] = f"{format_number(float(speed))} times"
    if (steps := record.cost.get("steps")) is not None:
        cost["Steps"] = f"{steps:,}"
    return cost
