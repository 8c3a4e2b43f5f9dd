"""Memory of a protocol: each finished stage is one line of JSON, read back when the run is resumed."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from genunlearn.engine.progress import Advance, Watch
from genunlearn.errors import DataError
from genunlearn.processes import this_process
from genunlearn.records import replacing


class FileJournal:
    """Stages kept in ``folder/journal.jsonl``; without a folder they are kept in memory.

    Attributes:
        seconds: Time spent by stage name, over all interruptions.
    """

    def __init__(self, folder: Path | None, watch: Watch | None = None) -> None:
        """Read what an earlier run has recorded; a last line cut short by a kill is dropped.

        Raises:
            DataError: The journal is damaged elsewhere; the message names the line.
        """
        self.path = folder / "journal.jsonl" if folder else None
        self.seconds: dict[str, float] = {}
        self._values: dict[str, Any] = {}
        self._watch = watch or Watch(is_shown=False)
        if self.path is not None and self.path.exists():
            self._read(self.path)

    def stage(self, name: str, compute: Callable[[], Any]) -> Any:
        """The value of the stage: recorded, or computed now and recorded. It must be plain JSON."""
        if name not in self._values:
            start = time.perf_counter()
            value = json.loads(json.dumps(compute()))
            self._keep(name, value, time.perf_counter() - start)
            self._write({"stage": name, "seconds": round(self.seconds[name], 3), "value": value})
        return self._values[name]

    def announce(self, message: str) -> None:
        """Hand the message to whoever watches."""
        self._watch.announce(message)

    def bar(self, title: str, total: int) -> AbstractContextManager[Advance]:
        """A progress bar for whoever watches."""
        return self._watch.bar(title, total)

    def _keep(self, name: str, value: Any, seconds: float) -> None:
        self._values[name] = value
        self.seconds[name] = seconds

    def _read(self, path: Path) -> None:
        """Take every stage in; what a kill has left of a last line is dropped, and whatever else is wrong refused."""
        if not path.is_file():
            raise DataError(f"{path}: not a file; start a fresh --out")
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: the journal cannot be read ({error.strerror})") from None
        # Not splitlines, which also cuts at separators inside of generated texts.
        *lines, tail = content.split(b"\n")
        for number, line in enumerate(lines, start=1):
            try:
                self._keep(*_stage_of(line))
            except ValueError as error:
                raise DataError(
                    f"{path}:{number}: {error}; the journal is damaged: put an older copy back, remove this line and "
                    "those after it, or start a fresh --out"
                ) from None
        if not tail:
            return
        whole = b"".join(line + b"\n" for line in lines)
        with suppress(ValueError):
            self._keep(*_stage_of(tail))
            whole = content + b"\n"
        if this_process().is_main_process:
            with replacing(path) as temporary:
                temporary.write_bytes(whole)

    def _write(self, row: dict[str, Any]) -> None:
        if self.path is None or not this_process().is_main_process:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(row, ensure_ascii=False) + "\n"
        with self.path.open("ab", buffering=0) as file:  # in one piece: runs that share a journal may write at once
            file.write(line.encode())
            os.fsync(file.fileno())


def _stage_of(line: bytes) -> tuple[str, Any, float]:
    """Name, value and seconds of a stage.

    Raises:
        ValueError: The line holds no stage.
    """
    try:
        row = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    if not isinstance(row, dict) or "value" not in row:
        raise ValueError("not a stage with its value")
    name, seconds = row.get("stage"), row.get("seconds")
    if not isinstance(name, str) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
        raise ValueError(f"stage = {str(name)[:60]!r}, seconds = {str(seconds)[:20]}: a name and a number are needed")
    return name, row["value"], seconds
