"""What a person sees of long work: announcements and one bar at a time, on stderr.

In a terminal a bar moves. Piped into a file or a log it becomes plain lines: no more than one in `EVERY` seconds, no
escape codes, and nothing at all for work that is done before the first line is due.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

EVERY = 30.0
"""Seconds between two lines of one bar; a bar that took longer leaves a line that says how long."""


class Advance(Protocol):
    """Moves a bar on."""

    def __call__(self, count: int = 1, note: str = "") -> None:
        """`count` more are done; the note stands behind the bar."""


class Watch:
    """Announcements and progress bars; silent where nobody should see them."""

    def __init__(
        self,
        *,
        is_shown: bool = True,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Show progress.

        Args:
            is_shown: False on every process but the main one, and in tests.
            console: Where to; stderr if None.
            clock: Seconds that only go up.
        """
        self.console = console or Console(stderr=True, quiet=not is_shown, highlight=False)
        self._clock = clock

    def announce(self, message: str) -> None:
        """Print one line."""
        self.console.print(message, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Advance]:
        """A progress bar, moved on by what is entered; its length goes to the log where it was long."""
        start = self._clock()
        with self._moving(title, total) if self.console.is_terminal else self._told(title, total) as advance:
            yield advance
        if (took := self._clock() - start) > EVERY:
            self.announce(f"{title}: done in {duration(took)}")

    @contextmanager
    def _moving(self, title: str, total: int) -> Iterator[Advance]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(title, total=total, note="")

            def advance(count: int = 1, note: str = "") -> None:
                progress.update(task, advance=count, note=note)

            yield advance

    @contextmanager
    def _told(self, title: str, total: int) -> Iterator[Advance]:
        lines, over = Lines(self.announce, title, total, self._clock), threading.Event()

        def remind() -> None:
            while not over.wait(1.0):  # one step may take longer than the time between two lines
                lines.remind()

        thread = threading.Thread(target=remind, name="progress", daemon=True)
        if not self.console.quiet:
            thread.start()
        try:
            yield lines.advance
        finally:
            over.set()
            if thread.is_alive():
                thread.join()


class Lines:
    """A progress bar in plain lines."""

    def __init__(self, say: Callable[[str], None], title: str, total: int, clock: Callable[[], float]) -> None:
        self.title, self.total, self.done, self.note = title, total, 0, ""
        self._say, self._clock, self._lock = say, clock, threading.Lock()
        self._start = self._last = clock()

    def advance(self, count: int = 1, note: str = "") -> None:
        """`count` more are done."""
        self.done, self.note = self.done + count, note
        self.remind()

    def remind(self) -> None:
        """Say how far the work is, unless that was said a moment ago."""
        with self._lock:
            now = self._clock()
            if now - self._last < EVERY or self.done >= self.total:
                return
            self._last = now
            self._say(self._line(now - self._start))

    def _line(self, took: float) -> str:
        parts = [f"{self.done} of {self.total}", self.note, f"{duration(took)} so far"]
        if self.done:
            parts.append(f"about {duration(took / self.done * (self.total - self.done))} left")
        return f"{self.title}: {', '.join(filter(None, parts))}"


def duration(seconds: float) -> str:
    """A duration to read in passing: ``45 s``, ``3 min 10 s``, ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
