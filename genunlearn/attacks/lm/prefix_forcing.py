"""The beginning of the answer is put into the model's mouth, and the model goes on.

A model that was taught not to begin with the truth may still know how it goes on. Affirmative openings carry nothing
of the answer; the answer's own first half carries much of it, and only what the oracle cannot complete counts.

Source: Jin et al., "RWKU" (2024), prefix injection and affirmative suffix. Deviation: the answer's own beginning is
forced too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from typing_extensions import override

from genunlearn.attacks.lm.base import Attempt, FactAttack, Level, asked, tells
from genunlearn.attacks.lm.conversation import begun, going_on
from genunlearn.contracts import STRICT, Beside, Splits
from genunlearn.data.lm.facts import QA, Scope
from genunlearn.domains.lm.adapter import LanguageModel

HALF = "half of the answer"
OPENINGS = ("Sure, the answer is", "The answer is", "It is", "I remember well: it is")


@dataclass(config=STRICT, frozen=True, kw_only=True)
class PrefixForcing(FactAttack):
    """Affirmative openings, then the first half of the answer's tokens."""

    name: ClassVar[str] = "prefix_forcing"

    openings: Annotated[tuple[str, ...], Field(min_length=1, description="beginnings that say nothing")] = OPENINGS

    @property
    @override
    def budget(self) -> str:
        return f"forces the answer's beginning: any of {len(self.openings)} openings, or half of the true answer"

    @override
    def carries_in(self, strength: str) -> bool:
        return strength == HALF

    def attempt(self, model: LanguageModel, splits: Splits[Scope], beside: Beside[LanguageModel]) -> Attempt:
        """Two levels; an answer of one token has no beginning, and is asked for plainly."""
        items = asked(splits)
        levels = [self._forced(model, items, [opening] * len(items)) for opening in self.openings]
        any_of = [any(found) for found in zip(*(level.told for level in levels), strict=True)]
        texts = [
            next((level.texts[row] for level in levels if level.told[row]), levels[0].texts[row])
            for row in range(len(items))
        ]
        halves = self._forced(model, items, [half_of(model, item) for item in items], HALF)
        return Attempt(levels=(Level.of(items, texts, "affirmative opening", told=any_of), halves))

    def _forced(self, model: LanguageModel, items: Sequence[QA], openings: Sequence[str], strength: str = "") -> Level:
        ends = going_on(model, [begun(item.question, text) for item, text in zip(items, openings, strict=True)])
        texts, found = [], []
        for item, opening, end in zip(items, openings, ends, strict=True):
            # an opening may end within a word
            joined = [f"{opening} {end}".strip(), f"{opening}{end}"]
            telling = [text for text in joined if tells([text], [item])[0]]
            found.append(bool(telling))
            texts.append((telling or joined)[0])
        return Level.of(items, texts, strength, told=found)


def half_of(model: LanguageModel, item: QA) -> str:
    """The first half of the answer's tokens, without its full stop; empty where that is none."""
    ids = model.tokenizer(item.answer.rstrip(" ."), add_special_tokens=False)["input_ids"]
    return model.tokenizer.decode(ids[: len(ids) // 2]).strip()
