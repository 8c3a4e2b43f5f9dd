"""What the reports of one kind of run can do; `genunlearn.registry.REPORTS` finds them by the kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genunlearn.errors import DataError, MismatchError
from genunlearn.records import RunRecord
from genunlearn.registry import REPORTS, family_of
from genunlearn.reports.findings import Findings
from genunlearn.reports.headline import Headline, Tone, unfinished
from genunlearn.reports.wording import humanise, request_label

if TYPE_CHECKING:
    from rich.console import Console


def _stated(record: RunRecord) -> Findings:
    """What a record states of itself, where its family has no bounds."""
    subject = request_label(record)
    ended = Headline(Tone.NEUTRAL, humanise(record.outcome or "done, not judged", capital=True), subject, ())
    return Findings(unfinished(record, subject) or ended)


@dataclass(frozen=True)
class Reporter:
    """The report, the comparison and the terminal table of one kind of run.

    Attributes:
        write: Writes ``report.html`` (and what belongs to it) into the folder of a run; returns its path.
        compare: Writes the comparison of several runs, by label, into a folder; returns the path of its page.
        show: Prints one or several runs, by label.
        find: What one run shows in short: its outcome, its numbers beside their bounds, its limits.
    """

    write: Callable[[RunRecord, Path], Path]
    compare: Callable[[Mapping[str, RunRecord], Path], Path]
    show: Callable[[RunRecord | Mapping[str, RunRecord], Console], None]
    find: Callable[[RunRecord], Findings] = _stated


def reporter_of(record: RunRecord) -> Reporter:
    """The reporter of a record's family, or of audits; plug-ins bring theirs through the same table."""
    reporter: Reporter = REPORTS.get(*_kind_of(record))
    return reporter


def common_reporter(records: Mapping[str, RunRecord]) -> Reporter:
    """The one reporter of several runs, by label.

    Raises:
        DataError: There is no run.
        MismatchError: Runs of different families have no table in common.
    """
    by_reporter: dict[Reporter, str] = {}
    for label, record in records.items():
        by_reporter.setdefault(reporter_of(record), f"{label} ({' of '.join(_kind_of(record))})")
    if not by_reporter:
        raise DataError("nothing to compare: give at least one folder that a run has written")
    reporter, *others = by_reporter
    if others:
        raise MismatchError(
            f"runs of different families: {', '.join(by_reporter.values())}: compare runs of one family"
        )
    return reporter


def _kind_of(record: RunRecord) -> tuple[str, str]:
    """What a record's reporter is filed under: the task, and the family."""
    config: Mapping[str, Any] = record.config
    return config.get("task", "unlearn"), family_of(config.get("domain", "lm"))
