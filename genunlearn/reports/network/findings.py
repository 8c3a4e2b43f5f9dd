"""What a run on a classifier or regressor shows in short: does it stand where models stand that never knew."""

from __future__ import annotations

from collections.abc import Iterator

from genunlearn.records import RunRecord
from genunlearn.reports.findings import FAILED, NOT_MEASURED, PASSED, UNDECIDED, Criterion, Findings
from genunlearn.reports.headline import Tone
from genunlearn.reports.network.reading import (
    GROUPS,
    SLACK,
    group_words,
    limits_of,
    main_metric,
    read_group,
    read_items,
    traces_of,
    words_of,
)
from genunlearn.reports.wording import ORACLE, UNLEARNED

STATUS = {Tone.GOOD: PASSED, Tone.WARN: FAILED, Tone.BAD: FAILED, Tone.NEUTRAL: NOT_MEASURED}


def find(record: RunRecord) -> Findings:
    """Outcome, criteria and limits of one run."""
    return Findings(read_items(record), tuple(_criteria(record)), tuple(limits_of(record)))


def _criteria(record: RunRecord) -> Iterator[Criterion]:
    name = main_metric(record)
    for group in GROUPS:
        if (result := record.find(name, UNLEARNED, group)) is None:
            continue
        reading = read_group(record, group)
        status = PASSED if reading.text.startswith("better by") else STATUS[reading.tone]
        rule = f"within {SLACK[name]} of what models trained without the forget set reach: {reading.text}"
        yield Criterion(result, f"{words_of(name).label}: {group_words(group).label}", None, rule, status)
    own, never = (record.find("mia_matched", target, "matched") for target in (UNLEARNED, ORACLE))
    if own and own.value is not None:
        is_found = any("matched membership" in trace for trace in traces_of(record))
        status = FAILED if is_found else PASSED if never and never.value is not None else UNDECIDED
        rule = "an interval that meets that of models trained without the forget set"
        yield Criterion(own, words_of("mia_matched").label, None, rule, status)
