"""How findings are said: a tone with its symbol, a word or two, and the headline of a run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
