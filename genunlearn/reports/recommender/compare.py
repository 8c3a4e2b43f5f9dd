"""Several runs on recommenders side by side: one table and one plot for each request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genunlearn.records import RunRecord
from genunlearn.reports.cells import Column
from genunlearn.reports.headline import Reading
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
from genunlearn.reports.sections import Comparison, Section
from genunlearn.reports.wording import humanise

COLUMNS: tuple[Column, ...] = (
    *((MAIN, f"{group}@{AT}") for group in GROUPS),
    *(("ndcg", f"{group}@{AT}") for group in ("forget", "test")),
    ("oracle_gap", "mean"),
    (MEMBERSHIP, "pairs"),
    (MEMBERSHIP, "users"),
    (RELEARNING, "step 5"),
)


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


def _read(record: RunRecord, column: Column) -> Reading | None:
    name, group = column
    return read_group(record, (group or "").partition("@")[0]) if name == MAIN and group is not None else None


def _leading(record: RunRecord) -> dict[str, Column]:
    return {humanise(group_words(group).label, capital=True): (MAIN, f"{group}@{AT}") for group in GROUPS}


def _caption(section: Section) -> str:
    return f"{section.title}: Recall@{AT}, {words_of(MAIN).meaning}"


def _view(number: int, section: Section) -> Mapping[str, Any]:
    return {"plot": runs_plot(f"runs-{number}", section.runs)}


COMPARISON = Comparison(
    family="recommender",
    request_of=request_of,
    read_run=read_rankings,
    read=_read,
    head_of=head_of,
    main=(MAIN,),
    columns=lambda _: COLUMNS,
    leading=_leading,
    caption=_caption,
    view=_view,
)
