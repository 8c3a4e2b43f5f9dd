"""Several runs of a family that stands beside oracles: divided by request, each part one table of a comparison."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genunlearn.records import RunRecord
from genunlearn.reports import style
from genunlearn.reports.cells import (
    Cell,
    Column,
    Line,
    as_cell,
    find_or_reason,
    lines_of,
    measured_columns,
    named_records,
    shared_n,
)
from genunlearn.reports.headline import Headline, Reading
from genunlearn.reports.markdown import Verbatim, table_of
from genunlearn.reports.numbers import format_number, format_seconds
from genunlearn.reports.parts import RunTable, cautions_of, check_any, run_table, title_of, write_comparison_pages
from genunlearn.reports.wording import UNLEARNED, Words, run_method

if TYPE_CHECKING:
    from rich.console import Console

LABEL, ONE_LINE = 14, 24
"""Columns of a row's head in a terminal, and of a cell that has its interval beside the value."""


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


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How a family that stands beside oracles shows several runs: one table a request, methods between the controls.

    Attributes:
        family: Folder of its templates ``compare.html`` and ``compare.md``.
        request_of: The request of a run in words.
        read_run: The outcome of a run.
        read: Where the unlearned model stands in a column; None for columns that are shown without a reading.
        head_of: The head of a column, short enough for a table of many.
        main: Metrics by which an original or an oracle counts as measured.
        columns: What may be shown of a run, in order.
        leading: What a terminal shows of it, by head.
        caption: The heading of a terminal's table.
        view: What the templates show of a request besides, by its number.
    """

    family: str
    request_of: Callable[[RunRecord], str]
    read_run: Callable[[RunRecord], Headline]
    read: Callable[[RunRecord, Column], Reading | None]
    head_of: Callable[[Column], str]
    main: Container[str]
    columns: Callable[[RunRecord], Sequence[Column]]
    leading: Callable[[RunRecord], Mapping[str, Column]]
    caption: Callable[[Section], str]
    view: Callable[[int, Section], Mapping[str, Any]]

    def sections_of(self, records: Mapping[str, RunRecord]) -> list[Section]:
        """The runs divided by request, in the order in which they come."""
        by_request: dict[str, dict[str, RunRecord]] = {}
        for label, record in records.items():
            by_request.setdefault(self.request_of(record), {})[label] = record
        sections = []
        for title, labelled in by_request.items():
            runs = _by_method(labelled)
            first, *_ = runs.values()
            measured = measured_columns(list(runs.values()))
            lines = lines_of(runs, self.main, ("Before", "Oracle"))
            shown = tuple(column for column in self.columns(first) if column in measured)
            sections.append(Section(title, lines, shown, tuple(cautions_of(runs, self.request_of))))
        return sections

    def run_rows(self, section: Section) -> RunTable:
        """How each run of a section ended and what it cost."""
        return run_table(section.runs, self.read_run, costs_of)

    def write(self, records: Mapping[str, RunRecord], folder: Path) -> Path:
        """Write ``compare.html`` and ``compare.md``: for each request methods in rows between original and oracle.

        Raises:
            DataError: There is no run to compare.
        """
        check_any(records)
        sections = self.sections_of(records)
        return write_comparison_pages(
            self.family,
            folder,
            html={},
            markdown={},
            count=len(records),
            cautions=cautions_of(records, self.request_of) if len(sections) > 1 else [],
            title=title_of(section.title for section in sections),
            sections=[self._view(number, section) for number, section in enumerate(sections)],
        )

    def _view(self, number: int, section: Section) -> dict[str, Any]:
        reasons: dict[str, int] = {}
        rows = [(line, [self._cell(line, column, reasons) for column in section.columns]) for line in section.lines]
        return {
            "title": section.title,
            "cautions": section.cautions,
            "heads": [Words(self.head_of(column)) for column in section.columns],
            "rows": rows,
            "reasons": list(reasons),
            "runs": self.run_rows(section),
            "table": self.markdown_table(section),
            "plot": None,
            **self.view(number, section),
        }

    def _cell(self, line: Line, column: Column, reasons: dict[str, int]) -> tuple[Cell, Reading | None]:
        cell = as_cell(find_or_reason(line.record, column[0], line.target, column[1]), reasons)
        return cell, self.read(line.record, column) if line.target == UNLEARNED else None

    def markdown_table(self, section: Section, columns: Sequence[Column] | None = None) -> Verbatim:
        """The table of a section in Markdown, n in the heads where all models share it.

        Args:
            section: The request.
            columns: What is shown; everything that was measured if None.
        """
        columns = section.columns if columns is None else columns
        reasons: dict[str, int] = {}
        cells = [line.cells_of(columns, reasons) for line in section.lines]
        shared = [shared_n([row[place] for row in cells]) for place, _ in enumerate(columns)]
        heads = [
            self.head_of(c) + (f" (n={n:,})" if n is not None else "") for c, n in zip(columns, shared, strict=True)
        ]
        rows = [
            [line.label, *(_text(cell, with_n=n is None) for cell, n in zip(row, shared, strict=True))]
            for line, row in zip(section.lines, cells, strict=True)
        ]
        return table_of(["Model", *heads], rows, reasons)

    def show(self, records: RunRecord | Mapping[str, RunRecord], console: Console) -> None:
        """Print one or several runs, one table a request: models in rows, leading numbers in columns."""
        named = named_records(records)
        for section in self.sections_of(named):
            self._print(section, console)
        style.say_outcomes(console, named, self.read_run)
        style.say_cautions(console, cautions_of(named, self.request_of))
        for label, record in named.items():
            for note in record.notes if record.outcome == "collapsed" else ():
                style.say(console, f"{label}: {note}")

    def _print(self, section: Section, console: Console) -> None:
        from rich.text import Text

        leading = {head: c for head, c in self.leading(section.first).items() if c in section.columns}
        table, reasons = style.table("", *leading, title=Text(self.caption(section))), dict[str, int]()
        gap = " " if console.width >= LABEL + ONE_LINE * len(leading) else "\n"
        for line in section.lines:
            texts = []
            for column in leading.values():
                cell, reading = self._cell(line, column, reasons)
                text = Text(cell.value, style="" if reading is None else style.STYLES[reading.tone])
                texts.append(text.append(f"{gap}{cell.interval}" if cell.interval else "", style="dim"))
            table.add_row(Text(line.label, style="bold" if line.target == UNLEARNED else ""), *texts)
        console.print(table)
        if reasons:
            style.say(console, f"not measured: {'; '.join(reasons)}", "dim")


def _text(cell: Cell, *, with_n: bool) -> str:
    if cell.footnote is not None:
        return cell.text
    return " ".join(filter(None, (cell.value, cell.interval, f"n={cell.n:,}" if with_n and cell.n else "")))


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
