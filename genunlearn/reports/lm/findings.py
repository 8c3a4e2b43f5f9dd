"""What a run on a language model shows in short: is it told no more, and is what must stay still told."""

from __future__ import annotations

from collections.abc import Iterator

from genunlearn.data.lm.facts import GONE_GROUPS, KEEP_GROUPS, TRAINED_GROUPS
from genunlearn.data.lm.telling import TOLD_AT_MOST
from genunlearn.records import RunRecord
from genunlearn.reports.findings import Criterion, Findings, at_most, kept
from genunlearn.reports.lm.limits import limits
from genunlearn.reports.lm.reading import headline, recall_of
from genunlearn.reports.lm.wording import group_words, metric_words
from genunlearn.reports.wording import ORIGINAL, UNLEARNED, run_section

MAX_RETAIN_LOSS = 0.25
"""Where the record's configuration does not say."""


def find(record: RunRecord) -> Findings:
    """Outcome, criteria and limits of one run."""
    return Findings(headline(record), tuple(_criteria(record)), tuple(limits(record)))


def _criteria(record: RunRecord) -> Iterator[Criterion]:
    stop = run_section(record, "train").get("stop_recall")
    most = max(TOLD_AT_MOST, stop if isinstance(stop, float) else 0.0)
    for name in ("recall", "leak_rate"):
        for group in GONE_GROUPS:
            if found := record.find(name, UNLEARNED, group):
                yield at_most(found, most, f"{metric_words(name).label}: {group_words(group).label}")
    loss = run_section(record, "evaluate").get("max_retain_loss")
    for group in KEEP_GROUPS:
        if group not in TRAINED_GROUPS and (found := recall_of(record, UNLEARNED, group)):
            label = f"{metric_words('recall').label}: {group_words(group).label}"
            allowed = loss if isinstance(loss, float) else MAX_RETAIN_LOSS
            yield kept(found, recall_of(record, ORIGINAL, group), allowed, label)
