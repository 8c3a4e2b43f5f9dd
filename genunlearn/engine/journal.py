"""Memory of a protocol: each finished stage is one line of JSON, read back when the run is resumed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from genunlearn.engine.progress import Advance, Watch
from genunlearn.processes import this_process
from genunlearn.records import write_text


class FileJournal:
    """Stages kept in ``folder/journal.jsonl``; without a folder they are kept in memory.

    Attributes:
        seconds: Time spent by stage name, over all interruptions.
    """

    def __init__(self, folder: Path | None, watch: Watch | None = None) -> None:
        """Read what an earlier run has recorded; a last line cut short by a kill is dropped."""
        self.path = folder / "journal.jsonl" if folder else None
        self.seconds: dict[str, float] = {}
        self._values: dict[str, Any] = {}
        self._watch = watch or Watch(is_shown=False)
        if self.path is not None and self.path.is_file():
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
        text = path.read_bytes().decode("utf-8", errors="replace")
        whole = ""
        for line in text.split("\n"):  # not splitlines, which also cuts at separators inside of generated texts
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                break
            self._keep(row["stage"], row["value"], row["seconds"])
            whole += f"{line}\n"
        if whole != text and this_process().is_main_process:
            write_text(path, whole)

    def _write(self, row: dict[str, Any]) -> None:
        if self.path is None or not this_process().is_main_process:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
