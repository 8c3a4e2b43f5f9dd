"""Several runs on classifiers and regressors side by side: one table and one plot for each request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genunlearn.records import RunRecord
from genunlearn.reports.cells import Cell, Column, Line, as_cell, find_or_reason, shared_n
from genunlearn.reports.headline import Reading
from genunlearn.reports.markdown import Verbatim, table_of
from genunlearn.reports.network.plots import gaps_plot
from genunlearn.reports.network.reading import (
    ACCURACY,
    ERROR,
    GROUPS,
    group_words,
    main_metric,
    read_group,
    read_items,
    request_of,
    words_of,
)
from genunlearn.reports.parts import RunTable, cautions_of, check_any, run_table, title_of, write_comparison_pages
from genunlearn.reports.sections import Section, costs_of, divide
from genunlearn.reports.wording import UNLEARNED, Words

COLUMNS: tuple[Column, ...] = (
    *((ACCURACY, group) for group in GROUPS),
    *((ERROR, group) for group in GROUPS),
    ("oracle_gap", "mean"),
    ("tow", None),
    ("wasserstein", "forget"),
    ("activation_distance", "forget"),
    ("zrf", "forget"),
    ("mia_loss", "forget"),
    ("mia_matched", "matched"),
    ("rmia", None),
    ("mia_shadow", "matched"),
    ("mia_conda", None),
    ("anamnesis_index", "step/train"),
    ("relearning_accuracy", "step 5"),
    ("relearning_loss", "step 5"),
)
SHORT = {ACCURACY: "", ERROR: "", "relearning_accuracy": "Accuracy after", "relearning_loss": "Loss after"}
HEADS = {
    "mia_loss": "Published membership",
    "mia_matched": "Matched AUC",
    "mia_shadow": "Shadow AUC",
    "mia_conda": "ConDa's attack",
    "wasserstein": "Wasserstein-1",
}


def sections_of(records: Mapping[str, RunRecord]) -> list[Section]:
    """The runs divided by request, in the order in which they come."""
    return divide(records, request_of, (ACCURACY, ERROR), COLUMNS)


def run_rows(section: Section) -> RunTable:
    """How each run of a section ended and what it cost."""
    return run_table(section.runs, read_items, costs_of)


def write_comparison(records: Mapping[str, RunRecord], folder: Path) -> Path:
    """Write ``compare.html`` and ``compare.md``: for each request methods in rows between original and oracle.

    Raises:
        DataError: There is no run to compare.
    """
    check_any(records)
    sections = sections_of(records)
    return write_comparison_pages(
        "network",
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
        "plot": gaps_plot(f"gaps-{number}", section.runs),
        "main": words_of(main_metric(section.first)),
        "table": markdown_table(section),
    }


def _cell(line: Line, column: Column, reasons: dict[str, int]) -> tuple[Cell, Reading | None]:
    name, group = column
    cell = as_cell(find_or_reason(line.record, name, line.target, group), reasons)
    is_read = line.target == UNLEARNED and name == main_metric(line.record) and group is not None
    return cell, read_group(line.record, group or "") if is_read else None


def head_of(column: Column) -> str:
    """The head of a column, short enough for a table of many."""
    name, group = column
    if name in SHORT:
        where = group_words(group).label
        return f"{SHORT[name]} {where.replace('step ', '')} updates" if SHORT[name] else where.capitalize()
    if name == "oracle_gap":
        return "Mean gap to oracles"
    return HEADS.get(name, words_of(name).label)


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
