"""Several runs on recommenders side by side: one table and one plot for each request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genunlearn.records import RunRecord
from genunlearn.reports.cells import Cell, Column, Line, as_cell, find_or_reason, shared_n
from genunlearn.reports.headline import Reading
from genunlearn.reports.markdown import Verbatim, table_of
from genunlearn.reports.parts import RunTable, cautions_of, check_any, run_table, title_of, write_comparison_pages
from genunlearn.reports.recommender.plots import runs_plot
from genunlearn.reports.recommender.reading import (
    AT,
    GROUPS,
    MAIN,
    MEMBERSHIP,
    RELEARNING,
    group_words,
    read_group,
    read_rankings,
    request_of,
    words_of,
)
from genunlearn.reports.sections import Section, costs_of, divide
from genunlearn.reports.wording import UNLEARNED, Words

COLUMNS: tuple[Column, ...] = (
    *((MAIN, f"{group}@{AT}") for group in GROUPS),
    *(("ndcg", f"{group}@{AT}") for group in ("forget", "test")),
    ("oracle_gap", "mean"),
    (MEMBERSHIP, "pairs"),
    (MEMBERSHIP, "users"),
    (RELEARNING, "step 5"),
)


def sections_of(records: Mapping[str, RunRecord]) -> list[Section]:
    """The runs divided by request, in the order in which they come."""
    return divide(records, request_of, (MAIN,), COLUMNS)


def run_rows(section: Section) -> RunTable:
    """How each run of a section ended and what it cost."""
    return run_table(section.runs, read_rankings, costs_of)


def write_comparison(records: Mapping[str, RunRecord], folder: Path) -> Path:
    """Write ``compare.html`` and ``compare.md``: for each request methods in rows between original and oracle.

    Raises:
        DataError: There is no run to compare.
    """
    check_any(records)
    sections = sections_of(records)
    return write_comparison_pages(
        "recommender",
        folder,
        html={},
        markdown={},
        count=len(records),
        cautions=cautions_of(records, request_of) if len(sections) > 1 else [],
        title=title_of(section.title for section in sections),
        sections=[_view(number, section) for number, section in enumerate(sections)],
    )


def _view(number: int, section: Section) -> dict[str, Any]:
    """What the templates show of one request."""
    reasons: dict[str, int] = {}
    rows = [(line, [_cell(line, column, reasons) for column in section.columns]) for line in section.lines]
    return {
        "title": section.title,
        "cautions": section.cautions,
        "heads": [Words(head_of(column)) for column in section.columns],
        "rows": rows,
        "reasons": list(reasons),
        "runs": run_rows(section),
        "plot": runs_plot(f"runs-{number}", section.runs),
        "table": markdown_table(section),
    }


def _cell(line: Line, column: Column, reasons: dict[str, int]) -> tuple[Cell, Reading | None]:
    name, group = column
    cell = as_cell(find_or_reason(line.record, name, line.target, group), reasons)
    is_read = line.target == UNLEARNED and name == MAIN and group is not None
    return cell, read_group(line.record, (group or "").partition("@")[0]) if is_read else None


def head_of(column: Column) -> str:
    """The head of a column, short enough for a table of many."""
    name, group = column
    if name == "oracle_gap":
        return "Mean gap to oracles"
    if name == RELEARNING:
        return f"Relearnt after {(group or '').removeprefix('step ')} updates"
    if name == MEMBERSHIP:
        return f"Membership AUC, {group_words(group).label}"
    kind, _, cutoff = (group or "").partition("@")
    return f"{words_of(name).label}@{cutoff} {kind}"


def markdown_table(section: Section, columns: Sequence[Column] | None = None) -> Verbatim:
    """The table of a section in Markdown, n in the heads where all models share it.

    Args:
        section: The request.
        columns: What is shown; everything that was measured if None.
    """
    columns = section.columns if columns is None else columns
    reasons: dict[str, int] = {}
    cells = [[_cell(line, column, reasons)[0] for column in columns] for line in section.lines]
    shared = [shared_n([row[place] for row in cells]) for place, _ in enumerate(columns)]
    heads = [
        head_of(column) + (f" (n={n:,})" if n is not None else "") for column, n in zip(columns, shared, strict=True)
    ]
    rows = [
        [line.label, *(_text(cell, with_n=n is None) for cell, n in zip(row, shared, strict=True))]
        for line, row in zip(section.lines, cells, strict=True)
    ]
    return table_of(["Model", *heads], rows, reasons)


def _text(cell: Cell, *, with_n: bool) -> str:
    if cell.footnote is not None:
        return cell.text
    return " ".join(filter(None, (cell.value, cell.interval, f"n={cell.n:,}" if with_n and cell.n else "")))
