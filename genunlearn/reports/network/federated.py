"""The reports of runs on federations: those on items, with who taught what and how far each has moved the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genunlearn.records import RunRecord, read_json
from genunlearn.reports.network.compare import COMPARISON
from genunlearn.reports.network.report import write_items_page
from genunlearn.reports.numbers import format_number
from genunlearn.reports.plots import (
    BESIDE,
    FONT_SIZE,
    INK,
    LINE,
    MUTED,
    SERIES,
    SMALL,
    WIDE,
    Mark,
    Plot,
    both_widths,
    clean_axes,
    draw_legend,
)
from genunlearn.reports.reporter import Reporter

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLIENTS_NAME = "clients.json"
ROW, TOP, BOTTOM = 30, 36, 44
"""Pixels of a client, above the first one and below the last."""
MOST_SHOWN = 40
"""Clients that are drawn: those that go, and the first of the others."""


def write_report(record: RunRecord, folder: Path) -> Path:
    """Write ``report.html``; who taught what is read from ``clients.json`` beside it."""
    path = Path(folder) / CLIENTS_NAME
    kept = read_json(path, "list of clients") if path.is_file() else {}
    return write_items_page("network/federated.html", record, folder, clients=clients_plot(kept.get("clients") or []))


def clients_plot(clients: Sequence[Mapping[str, Any]]) -> Plot | None:
    """Items of each class by client as shades, and each client's share of all movement as bars; None without any."""
    if not clients:
        return None
    shown = sorted(sorted(clients, key=lambda row: not row["is_going"])[:MOST_SHOWN], key=lambda row: row["client"])
    total = sum(row["moved"] for row in clients) or 1.0
    shares = [row["moved"] / total for row in shown]
    height = TOP + ROW * len(shown) + BOTTOM
    said = "; ".join(
        f"client {row['client']}{' (to go)' if row['is_going'] else ''}: {sum(row['items'])} items, "
        f"{format_number(share)} of the movement"
        for row, share in zip(shown, shares, strict=True)
    )
    marks = [Mark("stays", 0, "s"), Mark("is to go", 1, "s")]

    def draw(figure: Figure, width: int) -> None:
        left, gap = (150, 28) if width == WIDE else (84, 14)
        area = width - left - gap - 18
        body = ROW * len(shown) / height
        table = figure.add_axes((left / width, BOTTOM / height, 0.62 * area / width, body))
        bars = figure.add_axes(((left + 0.62 * area + gap) / width, BOTTOM / height, 0.38 * area / width, body))
        for axes in (table, bars):
            clean_axes(axes)
            axes.set_ylim(len(shown) - 0.5, -0.5)
            axes.yaxis.set_visible(False)
        _draw_items(table, shown, narrow=width != WIDE, left=left)
        colours = [SERIES[1 if row["is_going"] else 0] for row in shown]
        bars.barh(range(len(shown)), shares, color=colours, height=0.6)
        bars.axvline(1 / len(clients), color=MUTED, linewidth=0.8, linestyle="--")
        bars.set_xlabel("share of movement", size=FONT_SIZE if width == WIDE else SMALL)
        draw_legend(figure, marks, width, height)

    return both_widths("clients", f"Who taught what. {said}.", height, draw)


def _draw_items(axes: Any, shown: Sequence[Mapping[str, Any]], *, narrow: bool, left: int) -> None:
    """A square for each class of each client, the larger the more items."""
    most = max(max(row["items"]) for row in shown) or 1
    classes = len(shown[0]["items"])
    axes.set(xlim=(-0.6, classes - 0.4), xlabel="class")
    if classes <= 20:
        axes.set_xticks(range(classes))
    for place, row in enumerate(shown):
        axes.axhline(place + 0.5, color=LINE, linewidth=0.8, zorder=0)
        poisoned = f" + {row['poisoned']} poisoned" if row["poisoned"] and not narrow else ""
        axes.annotate(f"client {row['client']}", (0, place), (-left + 1, 1), size=SMALL, va="bottom", **BESIDE)
        detail = f"{sum(row['items']):,}{poisoned}"
        axes.annotate(detail, (0, place), (-left + 1, -1), size=SMALL - 1, color=MUTED, va="top", **BESIDE)
        sizes = [(9 if narrow else 15) ** 2 * count / most for count in row["items"]]
        axes.scatter(range(classes), [place] * classes, s=sizes, marker="s", color=SERIES[int(row["is_going"])])
    axes.tick_params(colors=INK)


FEDERATIONS = Reporter(write=write_report, compare=COMPARISON.write, show=COMPARISON.show)
