"""Bars side by side: what models do on several sets, or several numbers of each run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

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
    both_widths,
    clean_axes,
    draw_legend,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BAR, GAP = 13, 14
"""Pixels of a bar, and between the bars of two rows."""


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
