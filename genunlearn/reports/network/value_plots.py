"""Plots of valuations: costs of requests, how values lie, removal and repair, what is left after unlearning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from genunlearn.records import RunRecord
from genunlearn.reports.bars import bar_plot
from genunlearn.reports.marks import dot_row, model_marks, spoken
from genunlearn.reports.numbers import format_number
from genunlearn.reports.plots import SERIES, Mark, Plot, Point, both_widths, clean_axes, curve_plot, draw_legend
from genunlearn.reports.wording import ORACLE, ORIGINAL, UNLEARNED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = 32
MOST_SHOWN = 4
"""Requests whose items are shown among all values."""
ORDERS = {
    "high_first": ("highest first", 1, "s"),
    "random": ("at random", 0, "o"),
    "low_first": ("lowest first", 2, "D"),
}


def costs_plot(record: RunRecord) -> Plot | None:
    """What is lost on unseen items when each request goes, and the sum of its values where that has the same unit."""
    costs = [r for r in record.results if (r.name, r.target) == ("cost", ORACLE)]
    if not costs:
        return None
    has_unit = bool(record.rounds and record.rounds[0].get("is_utility"))
    marks = [Mark("lost when it goes", 1, "s"), Mark("sum of values", 3, "o")][: 1 + has_unit]
    rows = []
    for cost in sorted(costs, key=lambda result: -(result.value or 0.0)):
        value = next((r for r in record.results if r.name == "value" and r.group == cost.group), None)
        row = dot_row(str(cost.group), [cost, value][: 1 + has_unit])
        rows.append(row)
    return bar_plot("costs", f"Cost of requests. {spoken(marks, rows)}", marks, rows, "score")


def values_plot(kept: Mapping[str, Any]) -> Plot | None:
    """How many of all items, and of the items of each request, have which value; None without any."""
    import numpy as np

    values = np.asarray(kept.get("values") or [], dtype=float)
    if len(values) < 2 or not float(np.ptp(values)):
        return None
    low, high = np.quantile(values, [0.002, 0.998])
    edges = np.linspace(low, high, BINS + 1) if high > low else np.linspace(values.min(), values.max(), BINS + 1)
    groups = {"all": np.arange(len(values))}
    groups |= {name: np.asarray(rows) for name, rows in list((kept.get("requests") or {}).items())[:MOST_SHOWN]}
    marks = [Mark(name, k, "s") for k, name in enumerate(groups)]
    shares = [np.histogram(values[rows].clip(edges[0], edges[-1]), edges)[0] / len(rows) for rows in groups.values()]
    height = 260

    def draw(figure: Figure, width: int) -> None:
        axes = figure.add_axes((52 / width, 46 / height, (width - 70) / width, (height - 84) / height))
        axes.set(xlabel="value (both ends hold what lies beyond)", ylabel="Share of the items")
        clean_axes(axes)
        axes.margins(x=0.01)
        axes.stairs(shares[0], edges, fill=True, color=SERIES[0], alpha=0.35, linewidth=0)
        for mark, share in zip(marks[1:], shares[1:], strict=True):
            axes.stairs(share, edges, color=SERIES[mark.colour], linewidth=1.8)
        draw_legend(figure, marks, width, height)

    middle = "; ".join(f"{name} {format_number(float(np.median(values[rows])))}" for name, rows in groups.items())
    return both_widths("values", f"Histogram of values. Medians: {middle}.", height, draw)


def removal_plot(found: Mapping[str, Any], score: str) -> Plot | None:
    """The score after shares of the players went, in three orders; None where it was not measured."""
    shares = found.get("shares") or []
    curves = [
        (Mark(label, colour, shape, hollow=order == "random"), list(zip(shares, map(Point, found[order]), strict=True)))
        for order, (label, colour, shape) in ORDERS.items()
        if len(found.get(order, ())) == len(shares) > 0
    ]
    if not curves:
        return None
    alt = f"{score} by the share removed. " + _told(curves)
    return curve_plot("removal", alt, curves, xlabel="Share removed", ylabel=score, height=300, ends=_ends(curves))


def repair_plot(name: str, number: int, found: Mapping[str, Any], score: str) -> Plot | None:
    """The score of small subsets of the retain data, by value and at random, below that of all of them."""
    shares, whole = found.get("shares") or [], found.get("all")
    lines = {"valued": ("by value, cluster by cluster", 1, "s"), "random": ("at random", 0, "o")}
    curves = [
        (Mark(label, colour, shape, hollow=key == "random"), list(zip(shares, map(Point, found[key]), strict=True)))
        for key, (label, colour, shape) in lines.items()
        if len(found.get(key, ())) == len(shares) > 0
    ]
    if not curves or whole is None:
        return None
    curves.append((Mark("all retain data", 2, "D", hollow=True), [(share, Point(whole)) for share in shares]))
    alt = f"{score} of subsets of the retain data of {name}. " + _told(curves)
    xlabel = "Share of the retain data"
    return curve_plot(f"repair-{number}", alt, curves, xlabel=xlabel, ylabel=score, height=280, ends=_ends(curves))


def after_plot(record: RunRecord) -> Plot | None:
    """What the forget set is worth to the original and to the unlearned model; None where it was not measured."""
    found = [r for r in record.results if r.name == "residual_value"]
    if not found:
        return None
    marks = model_marks((ORIGINAL, UNLEARNED))
    rows = [
        dot_row(str(group), [record.find("residual_value", target, group) for target in (ORIGINAL, UNLEARNED)])
        for group in dict.fromkeys(result.group for result in found)
    ]
    return bar_plot(
        "after", f"Value of the forget set. {spoken(marks, rows)}", marks, rows, "score beyond the oracles'"
    )


def _ends(curves: Any) -> tuple[float, float]:
    """The range of all curves, to a twentieth."""
    import math

    values = [point.value for _, pairs in curves for _, point in pairs if point.value is not None]
    low, high = math.floor(20 * min(values)) / 20, math.ceil(20 * max(values)) / 20
    return (low, high) if high > low else (low, low + 0.05)


def _told(curves: Any) -> str:
    return " ".join(
        f"{mark.label}: " + ", ".join(f"{x:.0%} {format_number(point.value)}" for x, point in pairs) + "."
        for mark, pairs in curves
    )
