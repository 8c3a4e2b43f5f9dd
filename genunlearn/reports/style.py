"""How reports look in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from genunlearn.records import RunRecord
from genunlearn.reports.headline import SYMBOLS, Headline, Tone

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

STYLES = {Tone.GOOD: "green", Tone.WARN: "yellow", Tone.BAD: "red", Tone.NEUTRAL: ""}


def table(*heads: str, title: str | Text | None = None) -> Table:
    """An empty table without a frame."""
    from rich import box
    from rich.table import Table

    shape = box.SIMPLE_HEAD
    return Table(*heads, title=title, title_justify="left", box=shape, padding=(0, 1), show_edge=False)


def say(console: Console, text: str, style: str | None = None) -> None:
    """Print one line as it is: whoever copies it gets it whole."""
    console.print(text, style=style, soft_wrap=True, markup=False, highlight=False)


def say_cautions(console: Console, cautions: Iterable[str]) -> None:
    """Print why runs cannot be compared without further thought."""
    for caution in cautions:
        say(console, f"{SYMBOLS[Tone.WARN]} {caution}", STYLES[Tone.WARN])


def say_outcomes(console: Console, records: Mapping[str, RunRecord], read: Callable[[RunRecord], Headline]) -> None:
    """Print how each run ended; the evidence too where there is a single one."""
    for label, record in records.items():
        end = read(record)
        evidence = f" {' '.join(end.sentences)}" if len(records) == 1 else ""
        say(console, f"{label}: {end.verdict}.{evidence}")
