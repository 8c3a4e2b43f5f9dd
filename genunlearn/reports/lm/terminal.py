"""The scope table in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genunlearn.reports import style
from genunlearn.reports.cells import Cell, Records, named_records, shared_n
from genunlearn.reports.headline import Reading, Tone
from genunlearn.reports.lm.compare import cautions
from genunlearn.reports.lm.reading import headline
from genunlearn.reports.lm.scope import Grid, legend_of, scope_grid
from genunlearn.reports.lm.wording import group_words, metric_words
from genunlearn.reports.wording import Goal, humanise

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

LEAST_HEAD = 10
"""Columns that the head of a row gets at least; it may wrap, intervals should not."""
ARROWS = {Goal.DOWN: " ↓", Goal.UP: " ↑", Goal.NONE: ""}

ONE_LINE, TWO_LINES = 22, 15
"""Columns of a cell and the gap after it, with value and interval beside or below each other."""


def print_scope(records: Records, console: Console, metric: str | None = None) -> None:
    """Print one or several runs as a table: models in rows, scope groups in columns.

    A cell holds value and 95% interval; n stands in the head of the group, or in the cell where models differ. An
    arrow says which way a group should go; a sign and a colour say how a cell fares against its original. A console
    too narrow for all groups gets them in rows instead.

    Args:
        records: One record, several, or several by the name that their row shall have.
        console: Where to print.
        metric: Metric to show; recall, where it was measured, if None.
    """
    grid = scope_grid(records, metric)
    if grid.groups:
        _print_grid(grid, console)
    else:
        style.say(console, "Nothing was measured.")
    for number, reason in enumerate(grid.reasons if grid.groups else (), start=1):
        style.say(console, f"({number}) not measured: {reason}", "dim")
    for symbol, meaning in legend_of(grid).items():
        style.say(console, f"{symbol} {meaning}", "dim")
    named = named_records(records)
    style.say_outcomes(console, named, headline)
    style.say_cautions(console, cautions(named, grid.metric))


def _print_grid(grid: Grid, console: Console) -> None:
    room = console.width - max((len(row.label) for row in grid.rows), default=0)
    gap = " " if room >= ONE_LINE * len(grid.groups) else "\n"
    heads = [_head(grid, place) for place, _ in enumerate(grid.groups)]
    models = [row.label for row in grid.rows]
    sizes = [shared_n(row.cells[place] for row in grid.rows) for place, _ in enumerate(grid.groups)]
    body = [
        [_cell(cell, grid.reading(row, p), gap, with_n=sizes[p] is None) for p, cell in enumerate(row.cells)]
        for row in grid.rows
    ]
    if room >= TWO_LINES * len(grid.groups):
        _print_table(console, grid, heads, models, body)
    else:
        _print_table(console, grid, models, heads, [list(column) for column in zip(*body, strict=True)])


def _print_table(console: Console, grid: Grid, columns: list[str], rows: list[str], body: list[list[Text]]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    words = metric_words(grid.metric)
    title = Text(f"{words.label}: {words.meaning}" if words.meaning else words.label)
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    longest = max((len(line) for cells in body for cell in cells for line in cell.plain.splitlines()), default=0)
    width = min(longest, (console.width - LEAST_HEAD) // max(len(columns), 1) - 1)
    table.add_column(max_width=max(LEAST_HEAD, console.width - len(columns) * (width + 1)))
    for head in columns:
        table.add_column(Text(head), min_width=width)
    for head, cells in zip(rows, body, strict=True):
        table.add_row(Text(head, style="bold"), *cells)
    console.print(table)


def _head(grid: Grid, place: int) -> str:
    label = humanise(group_words(grid.groups[place]).label, capital=True)
    n = shared_n(row.cells[place] for row in grid.rows)
    return f"{label}{ARROWS[grid.goal(place)]}" + (f"\nn={n:,}" if n is not None else "")


def _cell(cell: Cell, reading: Reading | None, gap: str, *, with_n: bool) -> Text:
    from rich.text import Text

    if cell.footnote is not None:
        return Text(cell.text, style="dim")
    sign = f"{reading.symbol} " if reading and reading.tone is not Tone.NEUTRAL else ""
    text = Text(f"{sign}{cell.value}", style=style.STYLES[reading.tone] if reading else "")
    text.append(f"{gap}{cell.interval}" if cell.interval else "", style="dim")
    text.append(f"{gap}n={cell.n:,}" if with_n else "", style="dim")
    return text
