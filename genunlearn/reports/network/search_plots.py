"""Plots of searches: the found cell as a drawing, curves of the search, what networks know, what each way costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from genunlearn.records import RunRecord
from genunlearn.reports.bars import bar_plot
from genunlearn.reports.marks import dot_row, model_marks, spoken
from genunlearn.reports.numbers import format_number
from genunlearn.reports.plots import (
    INK,
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
    curve_plot,
)
from genunlearn.reports.wording import ORACLE, ORIGINAL, UNLEARNED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MODELS = (ORIGINAL, UNLEARNED, ORACLE)
INPUTS = 2
SHORT = {"max_pool_3x3": "max 3", "avg_pool_3x3": "avg 3", "skip_connect": "skip"}
LEVEL = 92
"""Pixels between two nodes of a drawing."""


def cell_plot(kind: str, edges: Sequence[Sequence[Any]]) -> Plot | None:
    """A cell as a drawing: inputs on the left, nodes below each other, each edge with its operation."""
    if not edges or len(edges) % INPUTS:
        return None
    nodes = len(edges) // INPUTS
    height = LEVEL * nodes + 60
    names = ["cell before last", "cell before", *(f"node {number + 1}" for number in range(nodes))]

    def draw(figure: Figure, width: int) -> None:
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.axis("off")
        edge, middle, end = 0.14 * width, 0.56 * width, 0.9 * width
        gap = (middle - edge) / (nodes + 1)
        places = [(edge, height * 0.3), (edge, height * 0.7)]
        places += [(middle - gap * (nodes - 1 - k) * 0.5, 46 + LEVEL * k + 10 * (k > 0)) for k in range(nodes)]
        for number, (name, source) in enumerate(edges):
            target = INPUTS + number // INPUTS
            _draw_edge(axes, places[source], places[target], str(name), number % INPUTS)
        out = (end, height / 2)
        for place in places[INPUTS:]:
            axes.annotate("", out, place, arrowprops={**ARROW, "color": MUTED, "linestyle": "dotted"})
        for label, place in [*zip(names, places, strict=True), ("output", out)]:
            _draw_node(axes, label, place, small=width != WIDE)

    told = "; ".join(f"{names[INPUTS + k // INPUTS]} from {names[s]} by {n}" for k, (n, s) in enumerate(edges))
    return both_widths(f"cell-{kind}", f"{kind} cell: {told}.", height, draw)


ARROW: dict[str, Any] = {"arrowstyle": "-|>", "shrinkA": 16, "shrinkB": 18, "linewidth": 1.3}


def _draw_edge(axes: Axes, start: tuple[float, float], end: tuple[float, float], name: str, rank: int) -> None:
    bend = 0.12 if rank else -0.12
    arrow = {**ARROW, "color": SERIES[1 + rank], "connectionstyle": f"arc3,rad={bend}"}
    axes.annotate("", end, start, arrowprops=arrow)
    (x0, y0), (x1, y1) = start, end
    # Beside the straight line, as far as the arc is bent there.
    along = 0.35  # near the start: edges into one node meet at its end
    x, y = x0 + along * (x1 - x0) - bend * 0.5 * (y1 - y0), y0 + along * (y1 - y0) + bend * 0.5 * (x1 - x0)
    box = {"boxstyle": "round,pad=0.15", "facecolor": PAPER, "edgecolor": "none"}
    axes.text(x, y, _short(name), ha="center", va="center", size=SMALL - 1, color=INK, bbox=box, zorder=4)


def _draw_node(axes: Axes, label: str, place: tuple[float, float], *, small: bool) -> None:
    words = label.replace(" before", "\nbefore") if small else label
    box = {"boxstyle": "round,pad=0.45", "facecolor": PAPER, "edgecolor": MUTED, "linewidth": 1.2}
    axes.text(*place, words, ha="center", va="center", size=SMALL, color=INK, bbox=box, zorder=5)


def _short(name: str) -> str:
    """``sep_conv_3x3`` as ``sep 3``."""
    return SHORT.get(name) or name.replace("_conv_", " ").split("x")[0]


def curves_plot(record: RunRecord) -> Plot | None:
    """Losses of the search by epoch; None where nothing was searched."""
    kinds = {
        "train_loss": Mark("loss, weights' half", 1, "s"),
        "valid_loss": Mark("loss, architecture's half", 0, "o"),
        "forget_gap": Mark("forget-retain gap", 3, "^"),
    }
    curves = []
    for name, mark in kinds.items():
        pairs = [(float(row["round"]), Point(float(row[name]))) for row in record.rounds if name in row]
        if pairs:
            curves.append((mark, pairs))
    if not curves:
        return None
    values = [point.value for _, pairs in curves for _, point in pairs if point.value is not None]
    ends = (math.floor(min(0.0, *values) * 2) / 2, math.ceil(max(0.5, *values) * 2) / 2)
    alt = "Losses by epoch. " + " ".join(
        f"{mark.label}: from {format_number(pairs[0][1].value or 0.0)} to {format_number(pairs[-1][1].value or 0.0)}."
        for mark, pairs in curves
    )
    return curve_plot("search", alt, curves, xlabel="Epoch", ylabel="Loss (nats)", height=300, ends=ends)


def known_plot(record: RunRecord) -> Plot | None:
    """Accuracy of the three networks on forget, retain and test; None where nothing was measured."""
    targets = [t for t in MODELS if any(r.target == t for r in record.results)]
    if not targets:
        return None
    groups = dict.fromkeys(str(r.group) for r in record.results)
    rows = [
        dot_row(group.capitalize(), [record.find("accuracy", target, group) for target in targets]) for group in groups
    ]
    marks = model_marks(targets)
    return bar_plot("known", f"Accuracy by set. {spoken(marks, rows)}", marks, rows, "accuracy")


def cost_plot(ways: Mapping[str, float]) -> Plot | None:
    """Seconds of each way to meet the request."""
    if not ways:
        return None
    rows = [DotRow(name, "", (Point(seconds),)) for name, seconds in ways.items()]
    marks = [Mark("seconds", 1, "s")]
    return bar_plot("cost", f"Seconds. {spoken(marks, rows)}", marks, rows, "seconds here")
