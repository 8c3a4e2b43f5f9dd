"""What a person sees of long work: announcements and one bar at a time, on stderr."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Advance(Protocol):
    """Moves a bar on."""

    def __call__(self, count: int = 1, note: str = "") -> None:
        """`count` more are done; the note stands behind the bar."""


class Watch:
    """Announcements and progress bars; silent where nobody should see them."""

    def __init__(self, *, is_shown: bool = True) -> None:
        """`is_shown`: False on every process but the main one, and in tests."""
        self.console = Console(stderr=True, quiet=not is_shown, highlight=False)

    def announce(self, message: str) -> None:
        """Print one line."""
        self.console.print(message, markup=False)

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Advance]:
        """A progress bar, moved on by what is entered."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}"),
        )
        is_seen = self.console.is_terminal  # elsewhere a bar would leave empty lines
        with Progress(*columns, console=self.console, transient=True, disable=not is_seen) as progress:
            task = progress.add_task(title, total=total, note="")

            def advance(count: int = 1, note: str = "") -> None:
                progress.update(task, advance=count, note=note)

            yield advance
