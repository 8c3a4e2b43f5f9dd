"""Completion: all of a word but its last letter is given away."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT, Attack, Beside, Splits
from genunlearn.ops import intervals
from genunlearn.records import Result
from genunlearn_counts.model import Bigram


@dataclass(config=STRICT, frozen=True, kw_only=True)
class LastLetter(Attack[Bigram]):
    """Share of the forget set whose last letter the table completes."""

    name: ClassVar[str] = "last_letter"
    domains: ClassVar[frozenset[str]] = frozenset({"bigram"})
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    tries: Annotated[int, Field(ge=1, le=27, description="guesses a word, the likeliest first")] = 3

    @property
    def budget(self) -> str:
        """What the attacker has and may do, in words."""
        return f"all letters but the last; {self.tries} guesses a word"

    def attack(self, model: Bigram, splits: Splits, target: str, beside: Beside[Bigram]) -> list[Result]:
        """One result, with the exact interval of a share."""
        hits = [word.letters[-2] in self._guesses(model, word.letters[-3]) for word in splits.forget]
        return [self.result(target, intervals.share(sum(hits), len(hits)), len(hits), group="forget")]

    def _guesses(self, model: Bigram, letter: int) -> list[int]:
        return model.counts[letter].topk(self.tries).indices.tolist()
