"""Many answered questions before the one that counts, all about other things: a model in the habit of answering.

Source: Anil et al., "Many-shot Jailbreaking" (NeurIPS 2024), as the WPU protocol uses it against unlearning. Deviation:
as many examples as the model's context holds, at most 100; they are questions that must stay answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from typing_extensions import override

from genunlearn.attacks.lm.base import Attempt, FactAttack, Level, asked
from genunlearn.attacks.lm.conversation import going_on, user
from genunlearn.attacks.lm.few_shot import examples
from genunlearn.contracts import STRICT, Beside, Splits
from genunlearn.data.lm.facts import QA, Scope
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.domains.lm.shots import fitting, shown


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ManyShot(FactAttack):
    """The question after as many answered ones as there is room for."""

    name: ClassVar[str] = "many_shot"

    shots: Annotated[int, Field(ge=9, description="examples at most")] = 100
    seed: Annotated[int, Field(ge=0, description="of which examples are drawn, and their order")] = 0

    @property
    @override
    def budget(self) -> str:
        return f"up to {self.shots} answered questions about other things before each question, as the context allows"

    def lacking(self, model: LanguageModel, splits: Splits[Scope], beside: Beside[LanguageModel]) -> str | None:
        """There must be more examples than few shots take, and room for them."""
        have = len(self._fitting(model, splits))
        return None if have > 8 else f"needs 9 other questions that fit the context together, has {have}"

    def attempt(self, model: LanguageModel, splits: Splits[Scope], beside: Beside[LanguageModel]) -> Attempt:
        """One level."""
        items, before = asked(splits), shown(self._fitting(model, splits))
        texts = going_on(model, [[*before, user(item.question)] for item in items])
        return Attempt(levels=(Level.of(items, texts, f"{len(before) // 2} examples"),))

    def _fitting(self, model: LanguageModel, splits: Splits[Scope]) -> Sequence[QA]:
        """As many examples as stand before the longest question and its answer."""
        questions = [item.question for item in asked(splits)]
        return fitting(model, examples(splits, is_near=False), questions, most=self.shots, seed=self.seed)
