"""How models look in plots: the same colour and shape for the same kind of model everywhere."""

from __future__ import annotations

from collections.abc import Sequence

from genunlearn.records import Result
from genunlearn.reports.plots import Mark, Point
from genunlearn.reports.wording import ORACLE, ORIGINAL

SHAPES = ("o", "s", "^", "v", "P", "X", "p", "h")


def model_marks(kinds: Sequence[str], labels: Sequence[str]) -> list[Mark]:
    """The look of each model: controls hollow and larger, so that they show around a method in the same place."""
    marks, methods = [], 0
    for kind, label in zip(kinds, labels, strict=True):
        if kind == ORIGINAL:
            marks.append(Mark(label, 0, "o", hollow=True))
        elif kind == ORACLE:
            marks.append(Mark(label, 2, "D", hollow=True))
        else:
            colour = 1 if methods == 0 else 3 + (methods - 1) % 5
            marks.append(Mark(label, colour, SHAPES[methods % len(SHAPES)], hollow=methods >= len(SHAPES)))
            methods += 1
    return marks


def point(result: Result | None) -> Point:
    """A result as a point of a plot."""
    return Point(None) if result is None else Point(result.value, result.low, result.high)
