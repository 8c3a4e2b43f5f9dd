"""What the numbers of a record mean in plain words: the headline, and a word a group."""

from __future__ import annotations

from collections.abc import Iterable

from genunlearn.data.lm.facts import EARLIER, FORGET_GROUPS, GROUPS, KEEP_GROUPS, TRAINED_GROUPS
from genunlearn.data.lm.telling import TOLD_AT_MOST
from genunlearn.ops.verdicts import ALPHA, Share, is_larger_p
from genunlearn.records import Result, RunRecord
from genunlearn.reports.headline import Headline, Reading, Tone, headline_of
from genunlearn.reports.lm.wording import TELL_KNOWLEDGE, goal_of, group_words, request_label
from genunlearn.reports.numbers import format_estimate, format_number
from genunlearn.reports.wording import ORACLE, ORIGINAL, UNLEARNED, Goal, humanise

KEPT_WITHIN = 0.02
"""A keep group that is down by more has fallen."""
LOST_AT_MOST = 0.1
"""What a keep group may have lost by the lower end of its interval and still count as kept."""
ATTACK_METRICS = ("relearn_steps", "asr", "membership_auc")
RULE = {
    Tone.GOOD: f"by the interval's worse end, told at most {TOLD_AT_MOST}, or lost at most {LOST_AT_MOST}",
    Tone.WARN: "less, or too few questions to tell",
    Tone.BAD: "still told, or lost",
}
"""What the marks of a table stand for."""
UNSURE = Reading(Tone.WARN, "as before, too few questions to tell")


def read_change(before: Result | None, after: Result | None) -> Reading:
    """Say in a few words what became of one group."""
    if after is None or after.value is None:
        return Reading(Tone.NEUTRAL, "not measured")
    goal = goal_of(after)
    if goal is Goal.NONE:
        return Reading(Tone.NEUTRAL, "compare with the oracle" if after.group else "")
    was_known = before is None or before.value is None or before.value > TOLD_AT_MOST
    if not was_known and after.name in TELL_KNOWLEDGE and after.group in GROUPS:
        text = "not known before" if goal is Goal.DOWN else "nothing to keep: not known before"
        return Reading(Tone.NEUTRAL, text)
    if goal is Goal.DOWN and after.value <= TOLD_AT_MOST:
        return Reading(Tone.GOOD if _most(after) <= TOLD_AT_MOST else Tone.WARN, f"not told, {_at_most(after)}")
    if before is None or before.value is None:
        return Reading(Tone.NEUTRAL if goal is Goal.UP else Tone.BAD, "no value before")
    if goal is Goal.DOWN:
        fell = after.value < before.value
        if fell and _apart(after, before):
            return Reading(Tone.WARN, "told less")
        return Reading(Tone.BAD, "still told")
    lost = round(before.value - after.value, 9)
    if lost <= KEPT_WITHIN:
        worst = before.value - (after.value if after.low is None else after.low)
        return (
            UNSURE
            if worst > LOST_AT_MOST
            else Reading(Tone.GOOD, f"kept, at most {format_number(max(worst, 0.0))} lost")
        )
    if _apart(after, before):
        return Reading(Tone.BAD, f"lost {format_number(lost)}")
    return Reading(Tone.WARN, f"down {format_number(lost)}, intervals overlap")


def _most(result: Result) -> float:
    """The largest share that the interval leaves open."""
    return max(end for end in (result.value, result.high, 0.0) if end is not None)


def _at_most(result: Result) -> str:
    return f"at most {format_number(_most(result))}"


def _apart(lower: Result, upper: Result) -> bool:
    """Whether the interval of `lower` ends below the one of `upper`; without intervals, any gap counts."""
    top = lower.value if lower.high is None else lower.high
    bottom = upper.value if upper.low is None else upper.low
    return top is not None and bottom is not None and top < bottom


def _knows_less(oracle: Result, original: Result) -> bool:
    """Whether an oracle tells fewer of the questions, by Fisher's exact test: intervals of a few always overlap."""
    told, known = (Share(round(_value(result) * result.n), result.n) for result in (oracle, original))
    return is_larger_p(known, told) < ALPHA


def headline(record: RunRecord) -> Headline:
    """The outcome of a run in plain words, checked against its own numbers."""
    return headline_of(record, request_label(record), _verdict, _evidence)


def _verdict(record: RunRecord) -> tuple[Tone, str]:
    """The outcome that the record states, unless its own measurements say otherwise."""
    stated = record.outcome
    if stated == "utility_floor":
        return Tone.WARN, "Stopped before it did damage"
    if stated in ("collapsed", "damaged"):
        return Tone.BAD, f"The model {'collapsed' if stated == 'collapsed' else 'is damaged'}"
    if stated == "not_known":
        return Tone.NEUTRAL, "Nothing to forget"
    if stated == "not_forgotten":
        tone, text = _told(record) if _measured(record, "recall") else (Tone.BAD, "Still told")
        return Tone.BAD, text if tone is Tone.BAD else "Still told"
    if stated not in (None, "forgotten", "trained", "edited"):  # the latter two claim nothing
        return Tone.NEUTRAL, humanise(stated, capital=True)
    if not _measured(record, "recall"):
        if stated == "forgotten":
            return Tone.WARN, "Not measured: only the method's own probes were asked"
        return Tone.NEUTRAL, "Done, not measured"
    tone, text = _told(record)
    if tone is not Tone.BAD and not _was_known(record):
        tone, text = Tone.NEUTRAL, "Not known before: nothing to forget"
    lost = [group for group, reading in _kept(record) if reading.tone is Tone.BAD]
    if tone is Tone.GOOD and lost:
        tone, text = Tone.WARN, f"{text}, at a cost to what stays"
    if _value(recall_of(record, UNLEARNED, EARLIER)) > TOLD_AT_MOST:
        tone, text = Tone.BAD, f"{text}, but an earlier request is told again"
    return tone, text if was_attacked(record) else f"{text}; not audited"


def _told(record: RunRecord) -> tuple[Tone, str]:
    """Whether the fact is still told: by greedy answers first, by sampled ones where greedy answers tell nothing."""
    greedy, sampled = _measured(record, "recall"), _measured(record, "leak_rate")
    untold = [(r.value or 0.0) <= TOLD_AT_MOST for r in greedy]
    if not all(untold):
        return (Tone.WARN, "Told in some phrasings") if any(untold) else (Tone.BAD, "Still told")
    leak = max(sampled, key=lambda r: r.value or 0.0, default=None)
    if leak and (leak.value or 0.0) > TOLD_AT_MOST:
        return Tone.BAD, f"Not told at first, but in samples (leak rate {format_number(leak.value or 0.0)})"
    last = greedy[-1]
    kind = "new phrasing" if last.group == FORGET_GROUPS[-1] else "phrasing"
    asked = f"{last.n:,} {kind}{'' if last.n == 1 else 's'}"
    is_sure = all(_most(result) <= TOLD_AT_MOST for result in (*greedy, *sampled))
    return Tone.GOOD if is_sure else Tone.WARN, f"Not told in {asked} ({_at_most(last)})"


def _was_known(record: RunRecord) -> bool:
    """Whether the original told the fact; taken as true where nobody asked it."""
    known = _measured(record, "recall", ORIGINAL)
    return not known or any((result.value or 0.0) > TOLD_AT_MOST for result in known)


def _measured(record: RunRecord, name: str, target: str = UNLEARNED) -> list[Result]:
    """What was measured of the fact, after unlearning or of another model."""
    found = (record.find(name, target, group) for group in FORGET_GROUPS)
    return [result for result in found if result and result.value is not None]


def was_attacked(record: RunRecord) -> bool:
    """Whether anything was tried that brings back what plain answers no longer show."""
    return any(result.name in ATTACK_METRICS and result.value is not None for result in record.results)


def _evidence(record: RunRecord) -> Iterable[str]:
    """One sentence each on the fact, its surroundings and the oracle."""
    probe = next((g for g in reversed(FORGET_GROUPS) if recall_of(record, UNLEARNED, g)), None)
    if probe:
        asked = "In new phrasings that unlearning never saw" if probe == "forget_heldout" else "In its own phrasings"
        was, now = (format_estimate(recall_of(record, target, probe)) for target in (ORIGINAL, UNLEARNED))
        yield f"{asked}, the share of questions answered with the truth went from {was} to {now}."
        leak = record.find("leak_rate", UNLEARNED, probe)
        if leak and leak.value is not None:
            yield f"Of the same questions, the share told by any of several sampled answers is {format_estimate(leak)}."
    earlier = recall_of(record, UNLEARNED, EARLIER)
    if earlier and earlier.value is not None:
        yield f"Of the questions about earlier requests, the share told is {format_estimate(earlier)}."
    yield from _surroundings(record)
    oracle, original = (recall_of(record, target, probe) if probe else None for target in (ORACLE, ORIGINAL))
    if oracle and oracle.value is not None:
        yield f"A model trained again without it, the oracle, scores {format_estimate(oracle)} on the same questions."
        if original and _value(original) > TOLD_AT_MOST and not _knows_less(oracle, original):
            yield "It is not seen to know less than the original: it cannot serve as an oracle for this."


def _kept(record: RunRecord) -> list[tuple[str, Reading]]:
    """What became of each group that should stay and that was measured, in words that were not trained on."""
    groups = [group for group in KEEP_GROUPS if group not in TRAINED_GROUPS]
    pairs = [(group, recall_of(record, ORIGINAL, group), recall_of(record, UNLEARNED, group)) for group in groups]
    return [(group, read_change(was, now)) for group, was, now in pairs if now and now.value is not None]


def _surroundings(record: RunRecord) -> Iterable[str]:
    def change(group: str) -> tuple[str, str]:
        was, now = (format_estimate(recall_of(record, target, group)) for target in (ORIGINAL, UNLEARNED))
        return was, now

    read = _kept(record)
    measured = [(group, reading) for group, reading in read if not reading.text.startswith("nothing to keep")]
    if unknown := len(read) - len(measured):
        yield f"{unknown} of {len(read)} groups that should stay were not known before: there was nothing to keep."
    unsure = sum(reading is UNSURE for _, reading in measured)
    fallen = [
        (group, reading)
        for group, reading in measured
        if reading.tone in (Tone.BAD, Tone.WARN) and reading is not UNSURE
    ]
    if fallen:
        parts = (
            f"{group_words(group).label} from {change(group)[0]} to {change(group)[1]}"
            + (" (intervals overlap)" if reading.tone is Tone.WARN else "")
            for group, reading in fallen
        )
        yield f"Of {len(measured)} groups that should stay, {len(fallen)} fell: {'; '.join(parts)}."
    elif measured:
        lowest = min((group for group, _ in measured), key=lambda g: _value(recall_of(record, UNLEARNED, g)))
        was, now = change(lowest)
        place = f"{group_words(lowest).label} at {now}, before {was}"
        yield f"None of the {len(measured)} groups that should stay fell; the lowest is {place}."
    if unsure:
        yield f"{unsure} of them had too few questions to tell a loss of {LOST_AT_MOST} from none."


def _value(result: Result | None) -> float:
    return (result.value if result else None) or 0.0


def recall_of(record: RunRecord, target: str, group: str) -> Result | None:
    """The recall of one model on one scope group."""
    return record.find("recall", target, group)
