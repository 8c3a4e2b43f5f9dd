"""The plots that reports show, drawn from grids and rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genunlearn.data.lm.facts import FORGET_GROUPS
from genunlearn.reports.lm.scope import Grid
from genunlearn.reports.lm.wording import group_words, metric_words
from genunlearn.reports.marks import dot_row, model_marks, point
from genunlearn.reports.numbers import format_estimate
from genunlearn.reports.plots import DotPanel, Mark, Plot, Point, curve_plot, dot_plot, scatter_plot
from genunlearn.reports.wording import Goal, humanise

PANEL_TITLES = {
    Goal.DOWN: "Should go (left is better)",
    Goal.NONE: "Follows from it",
    Goal.UP: "Should stay (right is better)",
}
TARGETS = {Goal.DOWN: 0.0, Goal.UP: 1.0}


def scope_plot(grid: Grid) -> Plot | None:
    """Before, after and oracle by scope group, groups that should go apart from those that should stay.

    None where nothing was measured, or where the values are no shares.
    """
    rows = [row for row in grid.rows if any(cell.footnote is None for cell in row.cells)]
    values = [cell.result.value for row in rows for cell in row.cells if cell.result and cell.result.value is not None]
    if not values or min(values) < 0 or max(values) > 1:
        return None
    panels = []
    for goal, title in PANEL_TITLES.items():
        lines = tuple(
            dot_row(
                humanise(group_words(group).label, capital=True),
                (row.cells[place].result for row in rows),
                TARGETS.get(goal),
            )
            for place, group in enumerate(grid.groups)
            if grid.goal(place) is goal
        )
        if lines:
            panels.append(DotPanel(title, lines))
    marks = model_marks([row.target for row in rows], [row.label for row in rows])
    label = metric_words(grid.metric).label
    alt = f"{label} by group. " + " ".join(
        f"{group_words(group).label}: "
        + ", ".join(f"{row.label} {format_estimate(row.cells[place].result)}" for row in rows)
        + "."
        for place, group in enumerate(grid.groups)
    )
    return dot_plot("scope", alt, marks, panels, f"{label} (0 = none told, 1 = all told)")


def forget_keep_plot(grid: Grid, keep: str) -> Plot | None:
    """What is left of the fact against what stayed around it, one mark a model; None where neither was measured.

    Args:
        grid: Models by groups.
        keep: Group of the vertical axis.
    """
    forget = next((group for group in reversed(FORGET_GROUPS) if group in grid.groups), None)
    if forget is None or keep not in grid.groups:
        return None
    x, y = (grid.groups.index(group) for group in (forget, keep))
    rows = [row for row in grid.rows if row.cells[x].footnote is None and row.cells[y].footnote is None]
    marks = model_marks([row.target for row in rows], [row.label for row in rows])
    points = [
        (mark, point(row.cells[x].result), point(row.cells[y].result)) for mark, row in zip(marks, rows, strict=True)
    ]
    xlabel, ylabel = (f"{metric_words(grid.metric).label}, {group_words(group).label}" for group in (forget, keep))
    alt = f"{ylabel} against {xlabel}. " + " ".join(
        f"{row.label}: {format_estimate(row.cells[y].result)} against {format_estimate(row.cells[x].result)}."
        for row in rows
    )
    return scatter_plot("scatter", alt, points, xlabel=f"{xlabel} (left is better)", ylabel=f"{ylabel} (up is better)")


def rounds_plot(rounds: Sequence[Mapping[str, Any]]) -> Plot | None:
    """Share of variants still known, and neighbour recall, round by round; None with fewer than two rounds."""
    known = [(entry.get("round", place), Point(known_share(entry))) for place, entry in enumerate(rounds)]
    kept = [(entry.get("round", place), Point(entry.get("neighbour_recall"))) for place, entry in enumerate(rounds)]
    curves = [(Mark("variants still known", 1, "o"), known), (Mark("neighbour recall", 4, "s"), kept)]
    curves = [(mark, pairs) for mark, pairs in curves if any(point.value is not None for _, point in pairs)]
    if len(rounds) < 2 or not curves:
        return None
    told = ", ".join(f"round {x}: {p.value:.2f}" for x, p in known if p.value is not None)
    alt = f"Share of question variants still answered with the truth: {told}."
    return curve_plot("rounds", alt, curves, xlabel="Round", ylabel="Share")


def known_share(entry: Mapping[str, Any]) -> float | None:
    """Share of a round's variants that the model still answers with the truth; None where it was not probed."""
    known, variants = entry.get("known"), entry.get("variants")
    if not isinstance(known, int) or not isinstance(variants, int) or not variants:
        return None
    return known / variants
