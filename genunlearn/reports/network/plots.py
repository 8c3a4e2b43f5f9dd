"""Plots of runs on classifiers and regressors: bars by set, the membership curve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genunlearn.records import RunRecord
from genunlearn.reports.bars import bar_plot
from genunlearn.reports.marks import MODELS, dot_row, model_marks, point, spoken
from genunlearn.reports.network.reading import GROUPS, group_words, main_metric, words_of
from genunlearn.reports.numbers import format_number
from genunlearn.reports.plots import DotRow, Mark, Plot, Point, curve_plot
from genunlearn.reports.wording import UNLEARNED, humanise

EVERY = 5
"""Every which point of a membership curve is drawn."""


def sets_plot(record: RunRecord) -> Plot | None:
    """Before, after and oracle on forget, retain and test; None where nothing was measured."""
    name = main_metric(record)
    targets = [t for t in MODELS if any(r.name == name and r.target == t for r in record.results)]
    rows = []
    for group in GROUPS:
        found = [record.find(name, target, group) for target in targets]
        if any(result and result.value is not None for result in found):
            rows.append(dot_row(humanise(group_words(group).label, capital=True), found))
    if not rows:
        return None
    marks, label = model_marks(targets), words_of(name).label
    return bar_plot("sets", f"{label} by set. {spoken(marks, rows)}", marks, rows, label)


def gaps_plot(name: str, records: Mapping[str, RunRecord]) -> Plot | None:
    """Gap to the oracles on forget, retain and test, one row a run; None where there are no oracles."""
    groups = ("forget", "retain", "test")
    rows = []
    for label, record in records.items():
        found = [record.find("oracle_gap", UNLEARNED, group) for group in groups]
        if any(result and result.value is not None for result in found):
            rows.append(DotRow(label, "", tuple(map(point, found))))
    if not rows:
        return None
    marks = [Mark(group, colour, "s") for group, colour in zip(groups, (1, 4, 3), strict=True)]
    label = words_of(main_metric(next(iter(records.values())))).label.lower()
    return bar_plot(name, f"Gap to the oracles. {spoken(marks, rows)}", marks, rows, f"{label} less the oracles' mean")


def membership_plot(curves: Mapping[str, Any]) -> Plot | None:
    """Receiver operating characteristic of telling forget from unseen items by the loss; None without any.

    Args:
        curves: ``false_positive_rates``, and ``true_positive_rates`` by model.
    """
    rates, found = curves.get("false_positive_rates") or [], curves.get("true_positive_rates") or {}
    targets = [target for target in MODELS if len(found.get(target, ())) == len(rates) > 0]
    if not targets:
        return None
    lines = [
        (mark, [(rates[n], Point(found[target][n])) for n in range(0, len(rates), EVERY)])
        for mark, target in zip(model_marks(targets), targets, strict=True)
    ]
    middle = len(rates) // 10
    said = "; ".join(f"{m.label} {format_number(found[t][middle])}" for (m, _), t in zip(lines, targets, strict=True))
    alt = f"Membership attack by loss. Members found at a false positive rate of {rates[middle]:g}: {said}."
    return curve_plot("membership", alt, lines, xlabel="False positive rate", ylabel="True positive rate", height=300)
