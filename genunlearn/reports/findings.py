"""What a run shows in short: its outcome, each number beside the bound that it is held to, and what is not claimed.

A criterion is *passed* where the whole 95% interval keeps the bound, *failed* where the value itself does not, and
*undecided* where the value does and the interval reaches beyond.
"""

from __future__ import annotations

from dataclasses import dataclass

from genunlearn.records import Result
from genunlearn.reports.headline import Headline
from genunlearn.reports.numbers import format_number

PASSED, FAILED, UNDECIDED, NOT_MEASURED = "passed", "failed", "undecided", "not measured"
SLACK = 1e-9
"""What the rounding of a float may make of a bound."""


@dataclass(frozen=True)
class Criterion:
    """One number, and the bound that it is held to.

    Attributes:
        result: The number.
        label: What is measured, in words.
        bound: The bound; None where the rule has no single number.
        rule: The bound in words.
        status: ``passed``, ``failed``, ``undecided`` or ``not measured``.
    """

    result: Result
    label: str
    bound: float | None
    rule: str
    status: str


@dataclass(frozen=True)
class Findings:
    """What a run shows in short."""

    headline: Headline
    criteria: tuple[Criterion, ...] = ()
    limits: tuple[str, ...] = ()


def at_most(result: Result, bound: float, label: str) -> Criterion:
    """What must go: its share may not be above `bound`."""
    return Criterion(result, label, bound, f"at most {format_number(bound)}", _status(result, -1, bound))


def at_least(result: Result, bound: float, label: str) -> Criterion:
    """What must be reached: its share may not be below `bound`."""
    return Criterion(result, label, bound, f"at least {format_number(bound)}", _status(result, 1, bound))


def kept(result: Result, before: Result | None, loss: float, label: str) -> Criterion:
    """What must stay: its share may not fall by more than `loss`."""
    if before is None or before.value is None:
        return Criterion(result, label, None, "as before, which was not measured", NOT_MEASURED)
    held = at_least(result, max(0.0, before.value - loss), label)
    allowed = f"{format_number(before.value)} before, and may fall by {format_number(loss)}"
    return Criterion(result, label, held.bound, f"{held.rule}: {allowed}", held.status)


def _status(result: Result, sign: int, bound: float) -> str:
    if result.value is None:
        return NOT_MEASURED
    ends = [end for end in (result.value, result.low, result.high) if end is not None]
    if sign * result.value < sign * bound - SLACK:
        return FAILED
    has_interval = len(ends) == 3
    worst = min(sign * end for end in ends)
    return PASSED if has_interval and worst >= sign * bound - SLACK else UNDECIDED
