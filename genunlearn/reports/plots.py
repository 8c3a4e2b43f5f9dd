"""Plots as inline SVG: they take their colours and fonts from the page, so that dark mode and print work.

Every plot is drawn twice, for a wide page and for a phone, since text that is scaled down cannot be read. Models
differ by the shape of their mark as well as by its colour. The same data gives the same bytes.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE, NARROW = 880, 380
"""Widths in pixels that a plot is drawn for."""
FONT_SIZE = 12.5
SMALL = 11

# Matplotlib wants real colours; the page replaces these by its own variables (`style.css`).
INK, MUTED, LINE, PAPER = "#010101", "#020202", "#030303", "#040404"
GOOD, BAD, TINT = "#050505", "#060606", "#070707"
SERIES = tuple(f"#1000{index:02x}" for index in range(8))
_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    LINE: "--line",
    PAPER: "--paper",
    GOOD: "--good",
    BAD: "--bad",
    TINT: "--tint",
    **{colour: f"--series-{index}" for index, colour in enumerate(SERIES)},
}


@dataclass(frozen=True)
class Plot:
    """A finished plot.

    Attributes:
        wide: SVG for laptops and paper.
        narrow: SVG for phones.
        alt: What the plot shows, for those who do not see it.
    """

    wide: Markup
    narrow: Markup
    alt: str


@dataclass(frozen=True)
class Mark:
    """How a series looks: the number of its colour (0 before, 1 after, 2 oracle, then methods) and its shape."""

    label: str
    colour: int
    shape: str
    hollow: bool = False

    @property
    def size(self) -> float:
        """Width in pixels; hollow marks are larger, to show around others."""
        return 9.0 if self.hollow else 6.5


@dataclass(frozen=True)
class Point:
    """A value with its interval; `value` is None where nothing was measured."""

    value: float | None
    low: float | None = None
    high: float | None = None

    @property
    def whiskers(self) -> list[list[float]] | None:
        """Distances to the interval's ends as matplotlib wants them; None without an interval."""
        if self.value is None or self.low is None or self.high is None:
            return None
        return [[max(self.value - self.low, 0.0)], [max(self.high - self.value, 0.0)]]


@dataclass(frozen=True)
class DotRow:
    """One line of a dot plot: a label, what it means, and a point a series."""

    label: str
    detail: str
    points: tuple[Point, ...]
    target: float | None = None
    """Where the mark of a perfect result would lie; None where there is no such place."""


@dataclass(frozen=True)
class DotPanel:
    """Lines that belong together under one title, for instance all groups that should go."""

    title: str
    rows: tuple[DotRow, ...]


def dot_plot(name: str, alt: str, marks: Sequence[Mark], panels: Sequence[DotPanel], xlabel: str) -> Plot:
    """Shares between 0 and 1 with their intervals, one line a group and one mark a series.

    Args:
        name: Unique on the page; part of the SVG's identifiers.
        alt: Description for those who do not see the plot.
        marks: The look of each series; every row has as many points.
        panels: Groups of lines under titles.
        xlabel: What the values are.
    """
    step, head = 42, 34
    lines = sum(len(panel.rows) for panel in panels)
    height = lines * step + len(panels) * head + 74

    def draw(figure: Figure, width: int) -> None:
        left = 200 if width == WIDE else 136
        axes = figure.add_axes((left / width, 46 / height, (width - left - 18) / width, (height - 74) / height))
        axes.set(xlim=(-0.03, 1.03), ylim=(lines * step + len(panels) * head, 0), xlabel=xlabel)
        clean_axes(axes)
        axes.xaxis.set_ticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
        axes.yaxis.set_visible(False)
        y = 0.0
        for panel in panels:
            axes.annotate(panel.title, (0, y + 22), (-left + 1, 0), weight="bold", **BESIDE)
            y += head
            for row in panel.rows:
                _draw_row(axes, row, marks, y, y + step, left=left, small=width == NARROW)
                y += step
        draw_legend(figure, marks, width, height)

    return both_widths(name, alt, height, draw)


BESIDE: dict[str, Any] = {
    "xycoords": ("axes fraction", "data"),
    "textcoords": "offset points",
    "annotation_clip": False,
}
"""Places a text beside the axes: at their left edge, moved by pixels."""


def _draw_row(
    axes: Axes, row: DotRow, marks: Sequence[Mark], top: float, bottom: float, *, left: int, small: bool
) -> None:
    middle = (top + bottom) / 2
    axes.axhline(bottom, color=LINE, linewidth=0.8, zorder=0)
    if row.target is not None:
        start = max(row.target - 0.05, -0.03) if row.target else -0.03
        axes.fill_between([start, start + 0.08], top + 1, bottom - 1, color=TINT, linewidth=0, zorder=0)
    axes.annotate(row.label, (0, middle), (-left + 1, 1), size=SMALL if small else FONT_SIZE, va="bottom", **BESIDE)
    axes.annotate(row.detail, (0, middle), (-left + 1, -1), size=SMALL - 1, color=MUTED, va="top", **BESIDE)
    gap = (bottom - top) / (len(marks) + 1)
    for index, (mark, point) in enumerate(zip(marks, row.points, strict=True), start=1):
        if point.value is not None:
            _draw_points(axes, mark, x=point.value, y=top + index * gap, xerr=point.whiskers)


def curve_plot(
    name: str,
    alt: str,
    curves: Sequence[tuple[Mark, Sequence[tuple[float, Point]]]],
    *,
    xlabel: str,
    ylabel: str,
    height: int = 240,
    ends: tuple[float, float] = (0.0, 1.0),
) -> Plot:
    """Shares between 0 and 1 over rounds, steps or strength, one line a series, intervals as whiskers.

    Args:
        name: Unique on the page.
        alt: Description for those who do not see the plot.
        curves: The look of each series with its ``(x, point)`` pairs.
        xlabel: What the horizontal axis is.
        ylabel: What the vertical axis is.
        height: Height in pixels.
        ends: Of the vertical axis, for values that are no shares.
    """
    from matplotlib.ticker import MaxNLocator

    is_counted = all(float(x).is_integer() for _, pairs in curves for x, _ in pairs)
    bottom, top = ends
    middle, margin = (bottom + top) / 2, 0.05 * (top - bottom)

    def draw(figure: Figure, width: int) -> None:
        axes = figure.add_axes((52 / width, 46 / height, (width - 70) / width, (height - 84) / height))
        axes.set(ylim=(bottom - margin, top + margin), xlabel=xlabel, ylabel=ylabel)
        clean_axes(axes)
        axes.yaxis.set_ticks([bottom, middle, top], [f"{tick:.3g}" for tick in (bottom, middle, top)])
        axes.xaxis.set_major_locator(MaxNLocator(integer=is_counted, nbins=6, steps=[1, 2, 5, 10]))
        for mark, pairs in curves:
            shown = [(x, point.value, point) for x, point in pairs if point.value is not None]
            xs, ys = [x for x, _, _ in shown], [y for _, y, _ in shown]
            axes.plot(xs, ys, color=SERIES[mark.colour], linewidth=1.6, zorder=2)
            spans = [point.whiskers or [[0.0], [0.0]] for _, _, point in shown]
            # in one call, which is what matplotlib takes its time over
            _draw_points(axes, mark, x=xs, y=ys, yerr=[[span[side][0] for span in spans] for side in (0, 1)])
        draw_legend(figure, [mark for mark, _ in curves], width, height)

    return both_widths(name, alt, height, draw)


def scatter_plot(
    name: str, alt: str, points: Sequence[tuple[Mark, Point, Point]], *, xlabel: str, ylabel: str, height: int = 440
) -> Plot:
    """One mark a model at (x, y), both shares between 0 and 1 with their intervals.

    The vertical axis begins at the quarter below the lowest interval.

    Args:
        name: Unique on the page.
        alt: Description for those who do not see the plot.
        points: The look of each model with its x and its y.
        xlabel: What the horizontal axis is.
        ylabel: What the vertical axis is.
        height: Height in pixels.
    """
    ends = [y.low if y.low is not None else y.value for _, _, y in points if y.value is not None]
    floor = math.floor(4 * min(ends, default=0.0)) / 4

    def draw(figure: Figure, width: int) -> None:
        rows = -(-len(points) // legend_columns(width))
        head = 22 * rows + 16
        axes = figure.add_axes((52 / width, 48 / height, (width - 70) / width, (height - 48 - head) / height))
        axes.set(xlim=(-0.04, 1.04), ylim=(floor - 0.04, 1.04), xlabel=xlabel, ylabel=ylabel)
        clean_axes(axes)
        axes.grid(axis="y", color=LINE, linewidth=0.8)
        ticks = [0, 0.25, 0.5, 0.75, 1]
        axes.set(xticks=ticks, yticks=[tick for tick in ticks if tick >= floor])
        axes.fill_between([-0.04, 0.05], 0.95, 1.04, color=TINT, linewidth=0, zorder=0)
        for mark, x, y in points:
            if x.value is not None and y.value is not None:
                _draw_points(axes, mark, x=x.value, y=y.value, xerr=x.whiskers, yerr=y.whiskers)
        draw_legend(figure, [mark for mark, _, _ in points], width, height)

    return both_widths(name, alt, height, draw)


# ---- common parts -----------------------------------------------------------------------------------------------


def _draw_points(axes: Axes, mark: Mark, **place: Any) -> None:
    colour = SERIES[mark.colour]
    axes.errorbar(
        **place,
        fmt=mark.shape,
        color=colour,
        markerfacecolor=PAPER if mark.hollow else colour,
        markersize=mark.size,
        markeredgewidth=1.6,
        elinewidth=1.6,
        capsize=0,
        clip_on=False,
        zorder=2.5 if mark.hollow else 3,
    )


def draw_legend(figure: Figure, marks: Sequence[Mark], width: int, height: int) -> None:
    """Say above the axes which mark is which series."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            linestyle="none",
            marker=mark.shape,
            color=SERIES[mark.colour],
            markerfacecolor=PAPER if mark.hollow else SERIES[mark.colour],
            markersize=mark.size,
            markeredgewidth=1.6,
            label=mark.label,
        )
        for mark in marks
    ]
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0, 1 - 2 / height),
        ncols=min(len(marks), legend_columns(width)),
        frameon=False,
        borderaxespad=0,
        borderpad=0,
        handletextpad=0.3,
        columnspacing=1.4,
    )


def legend_columns(width: int) -> int:
    """How many marks stand side by side in the legend."""
    return 6 if width == WIDE else 3


def clean_axes(axes: Axes) -> None:
    """Leave of the axes only what reads: light lines, no frame."""
    axes.set_facecolor("none")
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.tick_params(length=0, colors=MUTED, labelsize=SMALL)
    axes.xaxis.label.set_color(MUTED)
    axes.yaxis.label.set_color(MUTED)
    axes.grid(axis="x", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)


def both_widths(name: str, alt: str, height: int, draw: Callable[[Figure, int], None]) -> Plot:
    """Draw a plot for a wide page and for a phone."""
    wide, narrow = (_render(f"{name}-{width}", alt, width, height, draw) for width in (WIDE, NARROW))
    return Plot(wide, narrow, alt)


def _render(name: str, alt: str, width: int, height: int, draw: Callable[[Figure, int], None]) -> Markup:
    """Draw at 72 dots an inch, so that a point is a pixel, and turn the result into inline SVG."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with _style(name):
        figure = Figure(figsize=(width / 72, height / 72), facecolor="none")
        FigureCanvasSVG(figure)
        draw(figure, width)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return inline_svg(stream.getvalue(), name, alt)


@contextmanager
def _style(salt: str) -> Iterator[None]:
    import matplotlib

    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
        "font.size": FONT_SIZE,
        "axes.labelsize": SMALL,
        "text.color": INK,
        "text.parse_math": False,
    }
    with matplotlib.rc_context(settings):
        yield


def inline_svg(svg: str, name: str, alt: str) -> Markup:
    """Make a matplotlib SVG part of a page.

    Identifiers get the prefix `name`, since a page has several plots; colours become the page's variables; fonts,
    namespaces, metadata and rules for the whole page go.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    body = re.sub(r"\b(id=\"|url\(#|href=\"#)", rf"\g<1>{name}-", body).replace("xlink:href", "href")
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    box = re.search(r'viewBox="[^"]*"', body)
    opening = f'<svg {box.group() if box else ""} role="img" aria-label="{escape(alt)}">'
    return Markup(re.sub(r"\s*\n\s*", " ", re.sub(r"<svg[^>]*>", lambda _: opening, body, count=1)).strip())
