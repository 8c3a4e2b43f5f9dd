"""How findings are said: a tone with its symbol, a word or two, and the headline of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from genunlearn.records import FAILED, INTERRUPTED, RunRecord


class Tone(StrEnum):
    """How good a finding is; every tone also has a symbol and words, so that nothing hangs on colour."""

    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    NEUTRAL = "neutral"


SYMBOLS = {Tone.GOOD: "✓", Tone.WARN: "~", Tone.BAD: "✗", Tone.NEUTRAL: "·"}


@dataclass(frozen=True)
class Reading:
    """A finding in a few words."""

    tone: Tone
    text: str

    @property
    def symbol(self) -> str:
        """The sign that goes with the tone."""
        return SYMBOLS[self.tone]


@dataclass(frozen=True)
class Headline:
    """The outcome of a run: a title and the sentences under it."""

    tone: Tone
    verdict: str
    subject: str
    sentences: tuple[str, ...]


def headline_of(
    record: RunRecord,
    subject: str,
    verdict: Callable[[RunRecord], tuple[Tone, str]],
    evidence: Callable[[RunRecord], Iterable[str]],
) -> Headline:
    """The headline of a run: its family's verdict and evidence where it ended."""
    return unfinished(record, subject) or Headline(*verdict(record), subject, tuple(evidence(record)))


def unfinished(record: RunRecord, subject: str, what: str = "run") -> Headline | None:
    """The headline of a run that failed or was interrupted; None for one that ended."""
    if record.status == FAILED:
        verdict = "The model is broken" if record.outcome == "broken" else f"The {what} failed"
        return Headline(Tone.BAD, verdict, subject, (record.error or "No message was recorded.",))
    if record.status == INTERRUPTED:
        measured = sum(result.value is not None for result in record.results)
        kept = f"{measured} numbers were measured before it ended." if measured else "Nothing was measured yet."
        how = "Run the same command with --resume to finish it."
        return Headline(Tone.WARN, f"The {what} did not finish", subject, (kept, how))
    return None
