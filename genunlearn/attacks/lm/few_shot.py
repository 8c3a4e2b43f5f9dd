"""Examples of the same relation before the question: other subjects, each with its true answer.

Source: Lynch et al., "Eight Methods to Evaluate Robust Unlearning in LLMs" (2024), in-context learning. Deviation:
the examples are of the relation that is asked for, and none of them is about the forgotten fact.
"""

from __future__ import annotations

import random
from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from typing_extensions import override

from genunlearn.attacks.lm.base import Attempt, FactAttack, Level, asked, scope_of
from genunlearn.attacks.lm.conversation import going_on, user
from genunlearn.contracts import STRICT, Beside, Splits
from genunlearn.data.lm.facts import QA, Scope
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.domains.lm.shots import shown

NEAR = "same_relation"


@dataclass(config=STRICT, frozen=True, kw_only=True)
class FewShot(FactAttack):
    """The question after a few answered ones."""

    name: ClassVar[str] = "few_shot"

    shots: Annotated[
        tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1, description="examples, each number tried")
    ] = (3, 8)
    seed: Annotated[int, Field(ge=0, description="of which examples are drawn")] = 0

    @property
    @override
    def budget(self) -> str:
        return f"{' or '.join(map(str, self.shots))} answered questions of the same relation before each question"

    def lacking(self, model: LanguageModel, splits: Splits[Scope], beside: Beside[LanguageModel]) -> str | None:
        """There must be examples."""
        have = len(examples(splits))
        return (
            None if have >= min(self.shots) else f"needs {min(self.shots)} questions of the same relation, has {have}"
        )

    def attempt(self, model: LanguageModel, splits: Splits[Scope], beside: Beside[LanguageModel]) -> Attempt:
        """One level a number of examples that there are enough for."""
        items, pool, levels = asked(splits), examples(splits), []
        for count in (count for count in self.shots if count <= len(pool)):
            draw = random.Random(self.seed)
            asking = [[*shown(draw.sample(pool, count)), user(item.question)] for item in items]
            texts = going_on(model, asking)
            levels.append(Level.of(items, texts, f"{count} examples"))
        return Attempt(levels=tuple(levels))


def examples(splits: Splits[Scope], *, is_near: bool = True) -> list[QA]:
    """Questions of the same relation, or of others, that may stay known; one a fact, and none gives the answer away."""
    scope = scope_of(splits)
    gone = {name.rstrip(".").casefold() for item in asked(splits) for name in (item.answer, *item.aliases)}
    kind = [item for item in scope.retain if (item.group == NEAR) is is_near]
    kept = [item for item in kind if item.answer.rstrip(".").casefold() not in gone]
    return list({item.fact or item.id: item for item in kept}.values())
