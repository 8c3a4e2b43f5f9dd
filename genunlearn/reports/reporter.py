"""What the reports of one kind of run can do; `genunlearn.registry.REPORTS` finds them by the kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genunlearn.records import RunRecord
from genunlearn.registry import REPORTS, family_of

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Face:
    """The report, the comparison and the terminal table of one kind of run.

    Attributes:
        write: Writes ``report.html`` (and what belongs to it) into the folder of a run; returns its path.
        compare: Writes the comparison of several runs, by label, into a folder; returns the path of its page.
        show: Prints one or several runs, by label.
    """

    write: Callable[[RunRecord, Path], Path]
    compare: Callable[[Mapping[str, RunRecord], Path], Path]
    show: Callable[[RunRecord | Mapping[str, RunRecord], Console], None]


def face_of(record: RunRecord) -> Face:
    """The reports that fit a record."""
    config: Mapping[str, Any] = record.config
    face: Face = REPORTS.get(config.get("task", "unlearn"), family_of(config.get("domain", "lm")))
    return face
