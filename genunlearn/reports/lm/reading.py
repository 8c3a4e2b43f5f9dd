"""What the numbers of a record mean in plain words: the headline, and a word a group."""

from __future__ import annotations

from collections.abc import Iterable

from genunlearn.data.lm.facts import FORGET_GROUPS, KEEP_GROUPS
from genunlearn.records import Result, RunRecord
from genunlearn.reports.headline import Headline, Reading, Tone, unfinished
from genunlearn.reports.lm.wording import goal_of, group_words, request_label
from genunlearn.reports.numbers import format_estimate, format_number
from genunlearn.reports.wording import ORACLE, ORIGINAL, UNLEARNED, Goal, humanise

GONE_AT_MOST = 0.05
"""A forget group at or below this recall counts as gone."""
KEPT_WITHIN = 0.02
"""A keep group that loses at most this much counts as kept."""


def read_change(before: Result | None, after: Result | None) -> Reading:
    """Say in a few words what became of one group."""
    if after is None or after.value is None:
        return Reading(Tone.NEUTRAL, "not measured")
    goal = goal_of(after)
    if goal is Goal.NONE:
        return Reading(Tone.NEUTRAL, "compare with the oracle" if after.group else "")
    if goal is Goal.DOWN and after.value <= GONE_AT_MOST:
        return Reading(Tone.GOOD, "gone")
    if before is None or before.value is None:
        return Reading(Tone.NEUTRAL if goal is Goal.UP else Tone.BAD, "no value before")
    if goal is Goal.DOWN:
        fell = after.value < before.value
        if fell and _apart(after, before):
            return Reading(Tone.WARN, "less, not gone")
        return Reading(Tone.BAD, "still known")
    lost = round(before.value - after.value, 9)
    if lost <= KEPT_WITHIN:
        return Reading(Tone.GOOD, "kept")
    if _apart(after, before):
        return Reading(Tone.BAD, f"lost {format_number(lost)}")
    return Reading(Tone.WARN, f"down {format_number(lost)}, intervals overlap")


def _apart(lower: Result, upper: Result) -> bool:
    """Whether the interval of `lower` ends below the one of `upper`; without intervals, any gap counts."""
    top = lower.value if lower.high is None else lower.high
    bottom = upper.value if upper.low is None else upper.low
    return top is not None and bottom is not None and top < bottom


def headline(record: RunRecord) -> Headline:
    """The outcome of a run in plain words, checked against its own numbers."""
    subject = request_label(record)
    if ended := unfinished(record, subject):
        return ended
    tone, verdict = _verdict(record)
    return Headline(tone, verdict, subject, tuple(_evidence(record)))


def _verdict(record: RunRecord) -> tuple[Tone, str]:
    """The outcome that the record states, unless its own measurements say otherwise."""
    stated = record.outcome
    if stated == "utility_floor":
        return Tone.WARN, "Stopped before it did damage"
    if stated == "collapsed":
        return Tone.BAD, "The model collapsed"
    if stated == "not_known":
        return Tone.NEUTRAL, "Nothing to forget"
    if stated == "not_forgotten":
        return Tone.BAD, "Not forgotten"
    if stated not in (None, "forgotten", "trained", "edited"):  # the latter two claim nothing
        return Tone.NEUTRAL, humanise(stated, capital=True)
    forgets = [r for g in FORGET_GROUPS if (r := recall_of(record, UNLEARNED, g)) and r.value is not None]
    if not forgets:
        if stated == "forgotten":
            return Tone.WARN, "Forgotten, says the method; not measured"
        return Tone.NEUTRAL, "Done, not measured"
    gone = [r.value <= GONE_AT_MOST for r in forgets if r.value is not None]
    if all(gone):
        return Tone.GOOD, "Forgotten"
    if any(gone):
        return Tone.WARN, "Forgotten in some phrasings only"
    return Tone.BAD, "Not forgotten"


def _evidence(record: RunRecord) -> Iterable[str]:
    """One sentence each on the fact, its surroundings and the oracle."""
    probe = next((g for g in reversed(FORGET_GROUPS) if recall_of(record, UNLEARNED, g)), None)
    if probe:
        asked = "In new phrasings that unlearning never saw" if probe == "forget_heldout" else "In its own phrasings"
        was, now = (format_estimate(recall_of(record, target, probe)) for target in (ORIGINAL, UNLEARNED))
        yield f"{asked}, the share of questions answered with the truth went from {was} to {now}."
    yield from _surroundings(record)
    oracle = recall_of(record, ORACLE, probe) if probe else None
    if oracle and oracle.value is not None:
        yield f"A model trained again without it, the oracle, scores {format_estimate(oracle)} on the same questions."


def _surroundings(record: RunRecord) -> Iterable[str]:
    pairs = [(recall_of(record, ORIGINAL, group), recall_of(record, UNLEARNED, group)) for group in KEEP_GROUPS]
    measured = [(was, now) for was, now in pairs if now and now.value is not None]
    if not measured:
        return
    fallen = [(was, now, read_change(was, now)) for was, now in measured]
    fallen = [(was, now, reading) for was, now, reading in fallen if reading.tone in (Tone.BAD, Tone.WARN)]
    if fallen:
        parts = (
            f"{group_words(now.group).label} from {format_estimate(was)} to {format_estimate(now)}"
            + (" (intervals overlap)" if reading.tone is Tone.WARN else "")
            for was, now, reading in fallen
        )
        stayed = len(measured) - len(fallen)
        yield f"Of {len(measured)} groups that should stay, {stayed or 'none'} did. This fell: {'; '.join(parts)}."
        return
    was, now = min(measured, key=lambda pair: pair[1].value or 0.0)
    place = f"{group_words(now.group).label} at {format_estimate(now)}, before {format_estimate(was)}"
    yield f"All {len(measured)} groups that should stay did; the lowest is {place}."


def recall_of(record: RunRecord, target: str, group: str) -> Result | None:
    """The recall of one model on one scope group."""
    return record.find("recall", target, group)
