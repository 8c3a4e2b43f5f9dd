"""Plots of runs on recommenders: recall by group, by length of the list, and under relearning."""

from __future__ import annotations

from collections.abc import Mapping

from genunlearn.records import RunRecord
from genunlearn.reports.marks import dot_row, model_marks, point, spoken, spoken_value
from genunlearn.reports.plots import DotPanel, Plot, curve_plot, dot_plot
from genunlearn.reports.recommender.reading import (
    AT,
    FORGET,
    GROUPS,
    MAIN,
    RELEARNING,
    group_words,
    recall_of,
)
from genunlearn.reports.wording import ORACLE, ORIGINAL, UNLEARNED, humanise

MODELS = (ORIGINAL, UNLEARNED, ORACLE)


def groups_plot(record: RunRecord) -> Plot | None:
    """Recall@20 before, after and of the oracle on forget, valid and test; None where nothing was measured."""
    targets = _measured(record, MAIN)
    rows = []
    for group in GROUPS:
        found = [recall_of(record, target, group) for target in targets]
        if any(result and result.value is not None for result in found):
            rows.append(dot_row(humanise(group_words(group).label, capital=True), found))
    if not rows:
        return None
    marks = model_marks(targets)
    label = f"Recall@{AT}"
    return dot_plot("groups", f"{label} by group. {spoken(marks, rows)}", marks, [DotPanel("", tuple(rows))], label)


def runs_plot(name: str, records: Mapping[str, RunRecord]) -> Plot | None:
    """Recall@20 of several runs, one row a run: forget beside its oracle; None where nothing was measured."""
    panels = []
    for group in GROUPS:
        rows = []
        for label, record in records.items():
            found = [recall_of(record, target, group) for target in MODELS]
            if any(result and result.value is not None for result in found):
                rows.append(dot_row(label, found))
        if rows:
            panels.append(DotPanel(humanise(group_words(group).label, capital=True), tuple(rows)))
    if not panels:
        return None
    marks = model_marks(MODELS)
    alt = " ".join(f"{panel.title}. {spoken(marks, panel.rows)}" for panel in panels)
    return dot_plot(name, f"Recall@{AT} of each run. {alt}", marks, panels, f"Recall@{AT}")


def cutoffs_plot(record: RunRecord) -> Plot | None:
    """Recall of the forget set by length of the list, one line a model; None where it was not measured."""
    return _curves(record, MAIN, f"{FORGET}@", "cutoffs", "Length of the list", "Recall, forget")


def relearning_plot(record: RunRecord) -> Plot | None:
    """Recall of one half of the forget set after updates on the other; None where it was not tried."""
    return _curves(record, RELEARNING, "step ", "relearning", "Updates on one half", f"Recall@{AT}, other half")


def _curves(record: RunRecord, name: str, prefix: str, key: str, xlabel: str, ylabel: str) -> Plot | None:
    targets, curves, top = _measured(record, name), [], 0.0
    for mark, target in zip(model_marks(targets), targets, strict=True):
        pairs = []
        for result in record.results:
            place = (result.group or "").removeprefix(prefix)
            if (result.name, result.target) != (name, target) or not place.isdecimal() or result.value is None:
                continue
            if not (result.group or "").startswith(prefix):
                continue
            top = max(top, result.high if result.high is not None else result.value)
            pairs.append((float(place), point(result)))
        if pairs:
            curves.append((mark, sorted(pairs, key=lambda pair: pair[0])))
    if not curves:
        return None
    said = "; ".join(f"{m.label}: " + ", ".join(f"{x:.0f}: {spoken_value(p)}" for x, p in pairs) for m, pairs in curves)
    ends = (0.0, min(1.0, max(top, 0.1)))
    return curve_plot(key, f"{ylabel}. {said}.", curves, xlabel=xlabel, ylabel=ylabel, ends=ends)


def _measured(record: RunRecord, name: str) -> list[str]:
    return [t for t in MODELS if any(r.name == name and r.target == t and r.value is not None for r in record.results)]
