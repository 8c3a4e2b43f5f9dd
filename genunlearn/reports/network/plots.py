"""Plots of runs on classifiers and regressors: bars by set, the relearning curve, the membership curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from genunlearn.records import RunRecord
from genunlearn.reports.marks import dot_row, model_marks, point, spoken, spoken_value
from genunlearn.reports.network.reading import GROUPS, group_words, main_metric, words_of
from genunlearn.reports.numbers import format_number
from genunlearn.reports.plots import (
    BESIDE,
    FONT_SIZE,
    INK,
    LINE,
    MUTED,
    PAPER,
    SERIES,
    SMALL,
    WIDE,
    DotRow,
    Mark,
    Plot,
    Point,
    both_widths,
    clean_axes,
    curve_plot,
    draw_legend,
)
from genunlearn.reports.wording import ORACLE, ORIGINAL, UNLEARNED, humanise

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MODELS = (ORIGINAL, UNLEARNED, ORACLE)
BAR, GAP = 13, 14
"""Pixels of a bar, and between the bars of two rows."""
EVERY = 5
"""Every which point of a membership curve is drawn."""


def bar_plot(name: str, alt: str, marks: Sequence[Mark], rows: Sequence[DotRow], xlabel: str) -> Plot:
    """Horizontal bars from 0, one a series within each row, with whiskers.

    Args:
        name: Unique on the page.
        alt: Description for those who do not see the plot.
        marks: The colour of each series; every row has as many points. Controls are hollow.
        rows: What is compared.
        xlabel: What the values are.
    """
    step = BAR * len(marks) + GAP
    height = len(rows) * step + 80
    ends = [end for row in rows for p in row.points if p.value is not None for end in (p.value, p.low, p.high)]
    known = [end for end in ends if end is not None]
    low, high = min(0.0, *known), max(0.0, *known)
    margin = 0.03 * ((high - low) or 1.0)

    def draw(figure: Figure, width: int) -> None:
        left = 200 if width == WIDE else 136
        axes = figure.add_axes((left / width, 46 / height, (width - left - 18) / width, (height - 80) / height))
        axes.set(xlim=(low - margin, high + margin), ylim=(len(rows) * step, 0), xlabel=xlabel)
        clean_axes(axes)
        axes.yaxis.set_visible(False)
        axes.axvline(0, color=MUTED, linewidth=0.8, zorder=1)
        for place, row in enumerate(rows):
            _draw_row(axes, row, marks, place * step, step, left)
        draw_legend(figure, marks, width, height)

    return both_widths(name, alt, height, draw)


def _draw_row(axes: Axes, row: DotRow, marks: Sequence[Mark], top: float, step: float, left: int) -> None:
    middle = top + step / 2
    axes.axhline(top + step, color=LINE, linewidth=0.8, zorder=0)
    size = FONT_SIZE if left > 150 else SMALL
    axes.annotate(row.label, (0, middle), (-left + 1, 1), size=size, va="bottom", **BESIDE)
    axes.annotate(row.detail, (0, middle), (-left + 1, -1), size=SMALL - 1, color=MUTED, va="top", **BESIDE)
    for number, (mark, value) in enumerate(zip(marks, row.points, strict=True)):
        if value.value is None:
            continue
        y, colour = top + GAP / 2 + (number + 0.5) * BAR, SERIES[mark.colour]
        face = PAPER if mark.hollow else colour
        axes.barh(y, value.value, height=BAR - 3, color=face, edgecolor=colour, linewidth=1.2, zorder=2)
        if value.whiskers:
            axes.errorbar(value.value, y, xerr=value.whiskers, fmt="none", color=INK, elinewidth=1, zorder=3)


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


def relearning_plot(record: RunRecord) -> Plot | None:
    """How well the forget set is known after so many updates, one line a model; None where it was not tried."""
    curves, top, kind = [], 1.0, ""
    targets = [t for t in MODELS if any(_steps(r.name, r.group) is not None and r.target == t for r in record.results)]
    for mark, target in zip(model_marks(targets), targets, strict=True):
        pairs = []
        for result in record.results:
            step = _steps(result.name, result.group)
            if result.target != target or step is None or result.value is None:
                continue
            kind = result.name.removeprefix("relearning_")
            top = max(top, result.high or result.value) if kind == "loss" else top
            pairs.append((float(step), point(result)))
        if pairs:
            curves.append((mark, sorted(pairs, key=lambda pair: pair[0])))
    if not curves:
        return None
    ylabel = {"accuracy": "Accuracy, forgotten kind", "loss": "Loss, forgotten kind"}.get(kind, kind)
    said = "; ".join(f"{m.label}: " + ", ".join(f"{x:.0f}: {spoken_value(p)}" for x, p in pairs) for m, pairs in curves)
    alt = f"{ylabel} by updates of relearning. {said}."
    return curve_plot("relearning", alt, curves, xlabel="Updates on the forget set", ylabel=ylabel, ends=(0.0, top))


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


def _steps(name: str, group: str | None) -> int | None:
    """After how many updates a relearning result was measured; None for every other result."""
    if not name.startswith("relearning_") or not (group or "").startswith("step "):
        return None
    number = (group or "").removeprefix("step ")
    return int(number) if number.isdigit() else None
