"""What the numbers of an erasure run mean in plain words."""

from __future__ import annotations

from collections.abc import Iterator

from genunlearn.records import Result, RunRecord
from genunlearn.reports.headline import Headline, Tone, headline_of
from genunlearn.reports.numbers import format_estimate, format_number
from genunlearn.reports.wording import ORACLE, UNLEARNED, request_label

GONE_FROM, KEPT_FROM = 0.9, 0.85
"""UA from which a concept counts as not drawn from its prompts (by the lower end of the interval for a mark), and IRA
and CRA from which the others count as kept."""

LIMITS = (
    "Images were judged by a classifier, prompt by prompt. What a classifier misses, nobody has seen.",
    "Only prompts were tried. A model can hide a concept from its prompts and still draw it when another model begins "
    "the image, after a few fine-tuning steps, or for a prompt that was searched for: an audit tries these.",
    "The patch is an addition to the original weights, which still hold everything: whoever takes it off has the "
    "original model back.",
)


def read_erasure(record: RunRecord) -> Headline:
    """The outcome of an erasure run: a verdict and the sentences under it."""
    return headline_of(record, request_label(record), _verdict, _evidence)


def _verdict(record: RunRecord) -> tuple[Tone, str]:
    if record.outcome == "collapsed":
        return Tone.BAD, "The model collapsed"
    shares = [result for result in _shares(record, "ua") if result.value is not None]
    if not shares:
        return Tone.NEUTRAL, "Done, not judged"
    gone = [(result.value or 0.0) >= GONE_FROM for result in shares]
    kept = [r.value >= KEPT_FROM for name in ("ira", "cra") for r in _shares(record, name) if r.value is not None]
    if not any(gone):
        return Tone.BAD, "Still drawn; not audited"
    if not all(gone):
        return Tone.WARN, "Still drawn from some prompts; not audited"
    least = min(_low(result) for result in shares)
    text = f"Not drawn in {sum(r.n for r in shares):,} images (at most {format_number(1 - least)} of them)"
    if not all(kept):
        return Tone.WARN, f"{text}, and other things lost with it; not audited"
    return Tone.GOOD if least >= GONE_FROM else Tone.WARN, f"{text}; not audited"


def _low(result: Result) -> float:
    """The smallest share that the interval leaves open."""
    return min(end for end in (result.value, result.low) if end is not None)


def _shares(record: RunRecord, name: str, target: str = UNLEARNED) -> list[Result]:
    return [result for result in record.results if result.name == name and result.target == target]


def _evidence(record: RunRecord) -> Iterator[str]:
    for result in _shares(record, "ua"):
        if result.value is not None:
            yield f"{_upper(result.group)}: {format_estimate(result)} of the images no longer show it."
    lowest = [r for name in ("ira", "cra") for r in _shares(record, name) if r.value is not None]
    if lowest:
        worst = min(lowest, key=lambda result: result.value or 0.0)
        yield f"Of the other images at least {format_number(worst.value or 0.0)} show what was asked (n={worst.n})."
    if oracle := [r for r in _shares(record, "ua", ORACLE) if r.value is not None]:
        yield f"A model that never saw it does not show it in {format_estimate(oracle[0])} of its images."


def _upper(text: str | None) -> str:
    return (text or "the concept")[:1].upper() + (text or "the concept")[1:]
