"""Plots of synthetic tables: the parts of the score, how near forgotten rows are, and how far rows are from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from genunlearn.records import RunRecord
from genunlearn.reports.bars import bar_plot
from genunlearn.reports.marks import dot_row, spoken
from genunlearn.reports.numbers import format_number
from genunlearn.reports.plots import SERIES, DotRow, Mark, Plot, both_widths, clean_axes, draw_legend
from genunlearn.reports.wording import ORIGINAL, UNLEARNED, Words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = 24
REFERENCE = "reference"
TARGETS = (ORIGINAL, UNLEARNED, REFERENCE)
PARTS = {
    "score": Words("Score", "mean of the parts"),
    "basic": Words("Basic statistics", "means, spreads, medians, shares of categories"),
    "corr": Words("Associations", "how strongly columns hang together"),
    "ml": Words("Learning", "what estimators that learn from it reach on held-out rows"),
    "pmse": Words("Indistinguishable", "whether a logistic regression tells it from real rows"),
    "support": Words("Support", "how much of what real columns hold is covered"),
}
SIDES = {"forgotten": ("forgotten rows", 1), "held_out": ("held-out rows", 2)}


def marks_of(labels: Mapping[str, str]) -> list[Mark]:
    """The look of each measured table."""
    looks = {ORIGINAL: (0, "o"), UNLEARNED: (1, "s"), REFERENCE: (2, "D")}
    return [Mark(label, *looks[target], hollow=target == REFERENCE) for target, label in labels.items()]


def parts_plot(record: RunRecord, labels: Mapping[str, str]) -> Plot | None:
    """The five parts and their mean; None where none was measured."""
    marks, rows = marks_of(labels), []
    for part, words in PARTS.items():
        found = [record.find("tabsyndex", target, part) for target in labels]
        if any(result and result.value is not None for result in found):
            row = dot_row(words.label, found)
            rows.append(DotRow(row.label, "", row.points))
    if not rows:
        return None
    return bar_plot("parts", f"Parts of TabSynDex. {spoken(marks, rows)}", marks, rows, "1 is good")


def closeness_plot(name: str, named: Mapping[str, RunRecord]) -> Plot | None:
    """How often a forgotten row is nearer to the synthetic ones than a held-out row, by run; None without any.

    Args:
        name: Unique on the page.
        named: Runs by the label of their rows.
    """
    marks = [Mark("learnt from all rows", 0, "o"), Mark("learnt without the forgotten", 1, "s")]
    rows = []
    for label, record in named.items():
        found = [record.find("closeness", target) for target in (ORIGINAL, UNLEARNED)]
        if any(result and result.value is not None for result in found):
            rows.append(dot_row(label, found))
    if not rows:
        return None
    alt = f"Closeness to forgotten rows; 0.5 is chance. {spoken(marks, rows)}"
    return bar_plot(name, alt, marks, rows, "forgotten rows nearer than held-out ones; 0.5 is chance")


def distances_plot(kept: Mapping[str, Any], target: str, label: str) -> Plot | None:
    """How far forgotten and held-out rows are from the nearest synthetic row; None without any."""
    import numpy as np

    sides: dict[str, Sequence[float]] = {side: (kept.get(target) or {}).get(side) or [] for side in SIDES}
    if not all(map(len, sides.values())):
        return None
    top = max(max(found) for found in sides.values()) or 1.0
    edges = np.linspace(0, top, BINS + 1)
    marks = [Mark(label, colour, "s") for label, colour in SIDES.values()]
    shares = [np.histogram(found, edges)[0] / len(found) for found in sides.values()]
    height = 240

    def draw(figure: Figure, width: int) -> None:
        axes = figure.add_axes((52 / width, 46 / height, (width - 70) / width, (height - 84) / height))
        axes.set(xlabel="distance to the nearest synthetic row", ylabel="Share of the rows")
        clean_axes(axes)
        axes.margins(x=0.01)
        for mark, share in zip(marks, shares, strict=True):
            axes.stairs(share, edges, fill=True, color=SERIES[mark.colour], alpha=0.25, linewidth=0)
            axes.stairs(share, edges, color=SERIES[mark.colour], linewidth=1.8)
        draw_legend(figure, marks, width, height)

    medians = "; ".join(
        f"{m.label} {format_number(float(np.median(s)))}" for m, s in zip(marks, sides.values(), strict=True)
    )
    return both_widths(f"distances-{target}", f"Distances, {label}. Medians: {medians}.", height, draw)
