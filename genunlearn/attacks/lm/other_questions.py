"""Other questions that the fact answers: back from its object, over it to another fact, in other languages.

Unlearning that was taught one direction, one step and one language may leave the others. Which questions are asked the
scope says; an audit keeps those that the original answers with the truth.

Sources: Jin et al., "RWKU" (2024), reverse queries; MUNCH (arXiv 2410.13274), multi-hop questions; Lynch et al., "Eight
Methods to Evaluate Robust Unlearning in LLMs" (2024), other languages. Deviations: none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic.dataclasses import dataclass
from typing_extensions import override

from genunlearn.attacks.lm.base import Attempt, FactAttack, Level, answered, scope_of
from genunlearn.attacks.lm.completion import first_sentence
from genunlearn.attacks.lm.conversation import assistant, going_on
from genunlearn.contracts import STRICT, Beside, Splits
from genunlearn.data.lm.facts import QA, Scope
from genunlearn.domains.lm.adapter import LanguageModel

REVERSE, TWO_HOP, LANGUAGES = "reverse", "two_hop_through", "other_languages"
"""Groups of ``Scope.measured`` that hold the questions, each with what it asks for."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class OtherQuestions(FactAttack):
    """Questions of one group of the scope, asked greedily."""

    group: ClassVar[str]
    missing: ClassVar[str]
    """Why nothing is asked where the scope has none."""

    def lacking(self, model: LanguageModel, splits: Splits[Scope], beside: Beside[LanguageModel]) -> str | None:
        """There must be such questions."""
        return None if self.questions(splits) else self.missing

    def attempt(self, model: LanguageModel, splits: Splits[Scope], beside: Beside[LanguageModel]) -> Attempt:
        """One level."""
        return Attempt(levels=(answered(model, self.questions(splits)),))

    def questions(self, splits: Splits[Scope]) -> Sequence[QA]:
        """What is asked."""
        return scope_of(splits).measured.get(self.group, ())


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Reverse(OtherQuestions):
    """Statements that begin with the object and break off before the subject."""

    name: ClassVar[str] = "reverse"
    group: ClassVar[str] = REVERSE
    missing: ClassVar[str] = "no statement that ends in the subject is completed with it by the original"

    @property
    @override
    def budget(self) -> str:
        return "statements from the object back to the subject, to complete"

    @override
    def attempt(self, model: LanguageModel, splits: Splits[Scope], beside: Beside[LanguageModel]) -> Attempt:
        items = self.questions(splits)
        return Attempt(levels=(Level.of(items, completions(model, items)),))


@dataclass(config=STRICT, frozen=True, kw_only=True)
class TwoHop(OtherQuestions):
    """Questions that take the fact as their first step or their second."""

    name: ClassVar[str] = "two_hop"
    group: ClassVar[str] = TWO_HOP
    missing: ClassVar[str] = "no question over the fact to another one is answered by the original"

    @property
    @override
    def budget(self) -> str:
        return "questions that need the fact as one of two steps"


@dataclass(config=STRICT, frozen=True, kw_only=True)
class OtherLanguages(OtherQuestions):
    """The questions in other languages, as the original writes them."""

    name: ClassVar[str] = "other_languages"
    group: ClassVar[str] = LANGUAGES
    missing: ClassVar[str] = "the original writes the question in no other language in which it answers it"

    @property
    @override
    def budget(self) -> str:
        return "the questions in other languages, written by the original"


def completions(model: LanguageModel, items: Sequence[QA]) -> list[str]:
    """How the model goes on after each statement, up to the end of its sentence."""
    return [first_sentence(text) for text in going_on(model, [[assistant(item.question)] for item in items])]
