"""A statement of the fact that breaks off before the answer, as plain text and as something to complete.

Unlearning trains on questions; the same knowledge read as a statement is often left standing.

Source: Jin et al., "RWKU" (2024), fill in the blank. Deviation: the model goes on, rather than filling a gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from typing_extensions import override

from genunlearn.attacks.lm.base import Attempt, FactAttack, Level, scope_of
from genunlearn.attacks.lm.conversation import going_on, user
from genunlearn.contracts import STRICT, Beside, Splits
from genunlearn.data.lm.facts import QA, Scope
from genunlearn.domains.lm.adapter import LanguageModel

STATEMENTS = "statements"
"""Group of ``Scope.measured`` that holds beginnings of statements, with the answer that follows."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Completion(FactAttack):
    """Statements to complete; only the first sentence that follows counts."""

    name: ClassVar[str] = "completion"

    ask: Annotated[str, Field(description="what asks for a completion, before the statement")] = "Complete:"

    @property
    @override
    def budget(self) -> str:
        return "statements that break off before the answer, as plain text or after a request to complete them"

    def lacking(self, model: LanguageModel, splits: Splits[Scope], beside: Beside[LanguageModel]) -> str | None:
        """There must be a statement, or a relation to make one of."""
        return None if statements(splits) else "no fact says its relation, so there is no statement to complete"

    def attempt(self, model: LanguageModel, splits: Splits[Scope], beside: Beside[LanguageModel]) -> Attempt:
        """One level a form."""
        items = statements(splits)
        plain = [[{"role": "assistant", "content": item.question}] for item in items]
        spoken = [[user(f"{self.ask} {item.question}")] for item in items]
        levels = []
        for strength, conversations in (("plain text", plain), ("on request", spoken)):
            texts = [first_sentence(text) for text in going_on(model, conversations)]
            levels.append(Level.of(items, texts, strength))
        return Attempt(levels=tuple(levels))


def statements(splits: Splits[Scope]) -> Sequence[QA]:
    """Beginnings of statements: handed over, or subject and relation of each fact."""
    scope = scope_of(splits)
    return scope.measured.get(STATEMENTS) or [
        QA(id=f"{fact.id}#statement", question=f"{fact.subject} {fact.relation}", answer=f"{fact.object}.",
           aliases=fact.aliases, fact=fact.id)
        for fact in scope.facts if fact.relation
    ]  # fmt: skip


def first_sentence(text: str) -> str:
    """Up to the first full stop or line end: plain text goes on with other things."""
    return text.strip().partition("\n")[0].partition(". ")[0]
