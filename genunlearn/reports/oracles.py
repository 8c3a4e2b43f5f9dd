"""What a comparison with oracles can show: whether they serve, and whether anything told the original from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from genunlearn.records import Result, RunRecord
from genunlearn.reports.cells import Column
from genunlearn.reports.headline import Reading, Tone
from genunlearn.reports.numbers import format_estimate, format_number, format_seconds
from genunlearn.reports.wording import ORACLE, ORIGINAL, UNLEARNED

FEWEST = 6
"""Elements from which on all against none is no chance: exact 95% intervals of 5 of 5 and 0 of 5 overlap."""
LEAST_KEPT = 0.8
"""Share of the original's level on what must stay that an oracle has at least; with less it was ruined otherwise."""

WIDEST = 5
"""By how many times the slack the interval of what was kept may reach below the original."""

LIKE = Reading(Tone.GOOD, "like an oracle")
AS_BEFORE = Reading(Tone.NEUTRAL, "like an oracle, as before")
AS_DELETED = Reading(Tone.NEUTRAL, "like an oracle, by deletion alone")
TOO_FEW = Reading(Tone.NEUTRAL, "too few to tell")
NONE = Reading(Tone.NEUTRAL, "no oracle to compare with")
UNSOUND = Reading(Tone.NEUTRAL, "no sound oracle to compare with")


def kept(lost: float, most: float, slack: float) -> Reading:
    """What became of what must stay, without an oracle beside it.

    Args:
        lost: How much worse the unlearned model is than the original.
        most: The same by the worse end of its interval.
        slack: What may be lost.
    """
    if lost > slack:
        return Reading(Tone.BAD, f"worse by {format_number(lost)}")
    if most > WIDEST * slack:
        return Reading(Tone.NEUTRAL, "as before, too few to tell")
    return Reading(Tone.GOOD, f"kept, worse by at most {format_number(max(most, 0.0))}")


def among_oracles(n: int, *, was_before: bool) -> Reading:
    """What it means for what was to go that the unlearned model stands among the oracles.

    Args:
        n: Elements that were asked about.
        was_before: Whether the original stood there too: because oracles know it, or differ too widely, or because it
            is known without being learnt.
    """
    if was_before:
        return AS_BEFORE
    return TOO_FEW if n < FEWEST else LIKE


def why_unsound(record: RunRecord, kept: Column) -> str | None:
    """Why the oracles are no measure, as a sentence: they know far less than the original of what must stay."""
    was, never = (record.find(kept[0], target, kept[1]) for target in (ORIGINAL, ORACLE))
    if was is None or was.value is None or never is None or never.value is None:
        return None
    highest = never.value if never.high is None else never.high
    if highest >= LEAST_KEPT * was.value:
        return None
    return (
        f"Of what must stay ({kept[1]}) the oracles have {plain(never)}, the original {plain(was)}: they have lost "
        "more than the forget set, and are no measure of never having learnt it."
    )


def side(own: Result | None, never: Result | None) -> int:
    """1 if the interval of the one lies above that of the other, -1 if below, 0 if they overlap or one is missing."""
    if own is None or never is None:
        return 0
    if own.low is None or own.high is None or never.low is None or never.high is None:
        return 0
    if own.low > never.high:
        return 1
    return -1 if own.high < never.low else 0


def told_apart(record: RunRecord, target: str, column: Column) -> int:
    """`side` of a model and the oracles in what an attack found.

    Of the original 0 too where the unlearned model was not attacked: nobody has heard its silence then.
    """
    own, now, never = (record.find(column[0], one, column[1]) for one in (target, UNLEARNED, ORACLE))
    return 0 if now is None or now.value is None else side(own, never)


@dataclass(frozen=True)
class Findings:
    """What a verdict rests on.

    Attributes:
        forget: What was read of the forget set.
        is_worse: Whether something that must stay is known less than by oracles.
        traces: By what attacks tell the unlearned model from the oracles.
        was_told_apart: Whether something beside the forget set's level, an attack for instance, told the original from
            the oracles: only then can its silence now say anything.
    """

    forget: Reading
    is_worse: bool
    traces: Sequence[str]
    was_told_apart: bool


def verdict_of(record: RunRecord, found: Findings, *, noun: str, verb: str, like: str) -> tuple[Tone, str]:
    """The verdict on a run beside oracles.

    Args:
        record: The run.
        found: What was read of it.
        noun: What kind of thing has unlearned.
        verb: What it does when it is asked.
        like: The verdict where nothing tells it from an oracle.
    """
    forget = found.forget
    if record.outcome == "collapsed":
        return Tone.BAD, f"The {noun} collapsed"
    if forget.tone is Tone.NEUTRAL and forget not in (AS_BEFORE, AS_DELETED, TOO_FEW):
        return Tone.NEUTRAL, f"Done; {forget.text}"
    if forget.tone is Tone.BAD:
        return Tone.BAD, "Not forgotten"
    if forget.tone is Tone.WARN:
        return Tone.WARN, "Partly forgotten" if forget.text == "partly forgotten" else "Pushed beyond forgetting"
    if found.is_worse:
        return Tone.WARN, "Like an oracle on forget, at a cost to what stays"
    if found.traces:
        return Tone.WARN, f"{verb} like an oracle, but attacks tell it apart"
    if forget == TOO_FEW or (forget in (AS_BEFORE, AS_DELETED) and not found.was_told_apart):
        return Tone.NEUTRAL, f"Done; {forget.text}"
    return Tone.GOOD, like


def time_against_retraining(record: RunRecord) -> Iterator[str]:
    """How long unlearning took beside retraining, where both are known."""
    speed, seconds = record.cost.get("speed_up_over_retraining"), record.cost.get("unlearning_cpu_seconds")
    if speed and seconds is not None:
        yield f"It took {format_seconds(seconds)} of CPU time; retraining takes {format_number(speed)} times as long."


def updates_of(group: str | None) -> str:
    """``step 5`` as ``5 updates``."""
    count = (group or "").removeprefix("step ")
    return f"{count} update{'s' * (count != '1')}"


def plain(result: Result | None) -> str:
    """Value and interval."""
    return format_estimate(result, with_n=False)


def why_no_oracle(record: RunRecord, metric: str) -> str | None:
    """Why no oracle was measured; None where one was."""
    found = record.results
    return next((r.skipped for r in found if r.name == metric and r.target == ORACLE and r.skipped), None)


def was_measured(record: RunRecord) -> bool:
    """Whether anything was measured after unlearning."""
    return any(result.target == UNLEARNED and result.value is not None for result in record.results)
