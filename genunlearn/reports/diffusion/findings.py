"""What an erasure run shows in short: is the concept drawn no more, and are the others still drawn."""

from __future__ import annotations

from collections.abc import Iterator

from genunlearn.records import RunRecord
from genunlearn.reports.diffusion.reading import GONE_FROM, LIMITS, read_erasure
from genunlearn.reports.diffusion.wording import metric_words
from genunlearn.reports.findings import Criterion, Findings, at_least, kept
from genunlearn.reports.wording import ORIGINAL, UNLEARNED, run_section

MAX_RETAIN_LOSS = 0.25
"""Where the record's configuration does not say."""


def find(record: RunRecord) -> Findings:
    """Outcome, criteria and limits of one run."""
    return Findings(read_erasure(record), tuple(_criteria(record)), LIMITS)


def _criteria(record: RunRecord) -> Iterator[Criterion]:
    own = [result for result in record.results if result.target == UNLEARNED]
    for result in own:
        if result.name == "ua":
            yield at_least(result, GONE_FROM, f"{metric_words('ua').label}: {result.group or 'all'}")
    loss = run_section(record, "evaluate").get("max_retain_loss")
    for result in own:
        if result.name in ("ira", "cra"):
            before = record.find(result.name, ORIGINAL, result.group)
            label = f"{metric_words(result.name).label}: {result.group or 'all'}"
            yield kept(result, before, loss if isinstance(loss, float) else MAX_RETAIN_LOSS, label)
