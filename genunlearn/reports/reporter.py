"""What the reports of one kind of run can do; `genunlearn.registry.REPORTS` finds them by the kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genunlearn.records import RunRecord
from genunlearn.registry import REPORTS

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Reporter:
    """The report, the comparison and the terminal table of one kind of run.

    Attributes:
        write: Writes ``report.html`` (and what belongs to it) into the folder of a run; returns its path.
        compare: Writes the comparison of several runs, by label, into a folder; returns the path of its page.
        show: Prints one or several runs, by label.
    """

    write: Callable[[RunRecord, Path], Path]
    compare: Callable[[Mapping[str, RunRecord], Path], Path]
    show: Callable[[RunRecord | Mapping[str, RunRecord], Console], None]


def reporter_of(record: RunRecord) -> Reporter:
    """The reports that fit a record."""
    config: Mapping[str, Any] = record.config
    audits = config.get("task", "unlearn") == "audit"
    reporter: Reporter = REPORTS.get("audit" if audits else config.get("domain", "lm"))
    return reporter
