"""Where the true answer ranks among answers of its kind: what attacks that read scores have in common.

    calibrated(c | q) = score(c | q) - mean over invented subjects of score(c | q with that subject)

An answer that is likely whatever is asked ranks no higher for it. Ranks of one fact go together over phrasings, so that
a model that never knew has one fact in ``1 / end`` at the end that is looked at.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.attacks.lm.base import FactAttack, asked, scope_of
from genunlearn.attacks.lm.few_shot import NEAR
from genunlearn.attacks.lm.multiple_choice import others
from genunlearn.contracts import STRICT, Beside, Splits
from genunlearn.data.lm.decoys import asked_of, invented_subjects
from genunlearn.data.lm.facts import QA, Fact, Scope
from genunlearn.domains.lm.adapter import LanguageModel

LEAST = 20
"""Candidates among which a model that never knew puts the truth first once in twenty facts at most."""
CANDIDATES = "candidates"
"""Group of ``Scope.measured`` whose answers are of the kind of the truth, where somebody hands some over."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Ranking(FactAttack):
    """An attack that scores all candidates of the answer's kind."""

    end: Annotated[float, Field(gt=0, lt=0.5, description="share of the candidates that counts as an end")] = 0.025
    subjects: Annotated[int, Field(ge=1, le=32, description="invented subjects that priors are measured under")] = 8
    phrasings: Annotated[int, Field(ge=1, description="phrasings that each invented subject is asked in")] = 4
    seed: Annotated[int, Field(ge=0, description="of the invented subjects")] = 0

    def lacking(self, model: LanguageModel, splits: Splits[Scope], beside: Beside[LanguageModel]) -> str | None:
        """There must be enough candidates for a first place to count, and questions that name their subject."""
        if (have := len(candidates(splits)) + 1) < LEAST:
            return f"needs {LEAST} candidates of the answer's kind, has {have}"
        if not facts_asked(splits):
            return "no question that is asked says which fact it asks for"
        if not all(self._invented(fact, splits) for fact in facts_asked(splits)):
            return "no question names its subject, so that none can be asked of an invented one"
        return None

    @abc.abstractmethod
    def tables(
        self, model: LanguageModel, questions: Sequence[str], answers: Sequence[str], splits: Splits[Scope]
    ) -> Mapping[str, Tensor]:
        """Scores ``(questions, answers)``, higher for what the model holds likelier, by strength."""

    def scored(
        self, model: LanguageModel, fact: Fact, items: Sequence[QA], answers: Sequence[str], splits: Splits[Scope]
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """By strength, scores ``(items, answers)``, and the same less their mean under invented subjects."""
        questions = [*(item.question for item in items), *self._invented(fact, splits)]
        tables, count = self.tables(model, questions, answers, splits), len(items)
        return {strength: (table[:count], table[:count] - table[count:].mean(0)) for strength, table in tables.items()}

    def most(self, count: int) -> int:
        """How many of `count` candidates stand at an end."""
        return max(1, int(self.end * count))

    def _invented(self, fact: Fact, splits: Splits[Scope]) -> list[str]:
        """The fact's questions, asked of subjects that do not exist."""
        near = [item.question for item in scope_of(splits).retain if item.group == NEAR]
        names = invented_subjects(fact, near, self.subjects, self.seed)
        own = [*(item.question for item in facts_asked(splits)[fact]), *fact.phrasings]
        return asked_of(names, fact, own, self.phrasings)


def candidates(splits: Splits[Scope]) -> list[str]:
    """Answers of the kind of the truth, none of which tells it: handed over, or those of the same relation."""
    handed, true = scope_of(splits).measured.get(CANDIDATES), {item.answer for item in asked(splits)}
    return [item.answer for item in handed if item.answer not in true] if handed else others(splits)


def ranks_of(scores: Tensor) -> list[int]:
    """Place of the first column in each row, 1 for the largest; what is equal to it stands before it."""
    return ((scores[:, 1:] >= scores[:, :1]).sum(-1) + 1).tolist()


def facts_asked(splits: Splits[Scope]) -> Mapping[Fact, Sequence[QA]]:
    """The questions that are asked, by their fact; all are a single fact's."""
    items, facts = asked(splits), scope_of(splits).facts
    if len(facts) == 1:
        return {facts[0]: items}
    found = {fact: [item for item in items if item.fact == fact.id] for fact in facts}
    return {fact: own for fact, own in found.items() if own}
