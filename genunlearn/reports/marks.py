"""How models look in plots, and how plots are told: the same in the reports of every family."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from genunlearn.records import Result
from genunlearn.reports.numbers import MISSING, format_number
from genunlearn.reports.plots import DotRow, Mark, Point
from genunlearn.reports.wording import DECOYS, ORACLE, ORIGINAL, UNLEARNED, model_label

MODELS = (ORIGINAL, UNLEARNED, ORACLE)
"""Models of one run, as they stand in its plots."""
SHAPES = ("o", "s", "^", "v", "P", "X", "p", "h")


def model_marks(targets: Sequence[str], labels: Sequence[str] | None = None) -> list[Mark]:
    """The look of each model: controls hollow and larger, so that they show around a method in the same place."""
    marks, methods = [], 0
    for target, label in zip(targets, labels or map(model_label, targets), strict=True):
        if target == ORIGINAL:
            marks.append(Mark(label, 0, "o", hollow=True))
        elif target in (ORACLE, DECOYS):
            marks.append(Mark(label, 2, "D" if target == ORACLE else "s", hollow=True))
        else:
            colour = 1 if methods == 0 else 3 + (methods - 1) % 5
            marks.append(Mark(label, colour, SHAPES[methods % len(SHAPES)], hollow=methods >= len(SHAPES)))
            methods += 1
    return marks


def point(result: Result | None) -> Point:
    """A result as a point of a plot."""
    return Point(None) if result is None else Point(result.value, result.low, result.high)


def dot_row(label: str, results: Iterable[Result | None], target: float | None = None) -> DotRow:
    """One line of a plot: a point a model, and the sizes behind them below the label."""
    found = list(results)
    sizes = dict.fromkeys(f"n={result.n:,}" for result in found if result and result.value is not None)
    return DotRow(label, " ".join(sizes), tuple(map(point, found)), target)


def spoken(marks: Sequence[Mark], rows: Sequence[DotRow]) -> str:
    """The rows of a plot in words, for those who do not see it."""
    return " ".join(
        f"{row.label}: "
        + ", ".join(f"{m.label} {spoken_value(p)}" for m, p in zip(marks, row.points, strict=True))
        + "."
        for row in rows
    )


def spoken_value(place: Point) -> str:
    """A point in words."""
    return MISSING if place.value is None else format_number(place.value)
