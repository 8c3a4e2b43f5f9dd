"""Several runs on classifiers and regressors side by side: one table and one plot for each request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genunlearn.records import RunRecord
from genunlearn.reports.cells import Column
from genunlearn.reports.headline import Reading
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
from genunlearn.reports.sections import Comparison, Section
from genunlearn.reports.wording import humanise

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


def head_of(column: Column) -> str:
    """The head of a column, short enough for a table of many."""
    name, group = column
    if name in SHORT:
        where = group_words(group).label
        return f"{SHORT[name]} {where.replace('step ', '')} updates" if SHORT[name] else where.capitalize()
    if name == "oracle_gap":
        return "Mean gap to oracles"
    return HEADS.get(name, words_of(name).label)


def _read(record: RunRecord, column: Column) -> Reading | None:
    name, group = column
    return read_group(record, group) if name == main_metric(record) and group is not None else None


def _leading(record: RunRecord) -> dict[str, Column]:
    name = main_metric(record)
    return {humanise(group_words(group).label, capital=True): (name, group) for group in GROUPS}


def _caption(section: Section) -> str:
    words = words_of(main_metric(section.first))
    return f"{section.title}: {words.label.lower()}, {words.meaning}"


def _view(number: int, section: Section) -> Mapping[str, Any]:
    return {"plot": gaps_plot(f"gaps-{number}", section.runs), "main": words_of(main_metric(section.first))}


COMPARISON = Comparison(
    family="network",
    request_of=request_of,
    read_run=read_items,
    read=_read,
    head_of=head_of,
    main=(ACCURACY, ERROR),
    columns=lambda _: COLUMNS,
    leading=_leading,
    caption=_caption,
    view=_view,
)
