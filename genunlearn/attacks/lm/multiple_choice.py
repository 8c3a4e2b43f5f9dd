"""Which of a few answers the model holds to be the likeliest.

A model that will not say the answer may still tell it from others of its kind. Each question has distractors of its
own, drawn from answers of the same relation; the options stay unnamed, or are named in several orders. The answer
counts as told where its log-probability a token, averaged over the orders, is the highest. Chance is one in `options`;
what counts is the excess over the oracle.

Source: Li et al., "The WMDP Benchmark" (2024). Deviation: there the letter of an option is scored, here its text,
which small models without an idea of letters can answer too; orders are permuted.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from typing_extensions import override

from genunlearn.attacks.lm.base import Attempt, FactAttack, Level, asked
from genunlearn.attacks.lm.few_shot import examples
from genunlearn.contracts import STRICT, Beside, Splits
from genunlearn.data.lm.facts import QA, Scope
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.ops.evaluation_mode import evaluating

BATCH = 64


@dataclass(config=STRICT, frozen=True, kw_only=True)
class MultipleChoice(FactAttack):
    """The likeliest of several options, listed in several orders."""

    name: ClassVar[str] = "multiple_choice"

    options: Annotated[int, Field(ge=2, description="answers to choose from, the true one among them")] = 4
    orders: Annotated[int, Field(ge=1, description="orders in which they are listed")] = 4
    seed: Annotated[int, Field(ge=0, description="of the distractors and the orders")] = 0

    @property
    @override
    def budget(self) -> str:
        return f"log-probabilities of {self.options} options in {self.orders} orders; chance is {1 / self.options:.2f}"

    def lacking(self, model: LanguageModel, splits: Splits[Scope], beside: Beside[LanguageModel]) -> str | None:
        """There must be other answers of the same relation."""
        have, need = len(others(splits)), self.options - 1
        return None if have >= need else f"needs {need} other answers of the same relation, has {have}"

    def attempt(self, model: LanguageModel, splits: Splits[Scope], beside: Beside[LanguageModel]) -> Attempt:
        """Two levels: the options left unnamed, and named after the question."""
        items, pool, draw = asked(splits), others(splits), random.Random(self.seed)
        choices = [[item.answer, *draw.sample(pool, self.options - 1)] for item in items]
        bare = [[item.question] for item in items]
        listed = [
            [f"{item.question} {_spoken(draw.sample(own, len(own)))}?" for _ in range(self.orders)]
            for item, own in zip(items, choices, strict=True)
        ]
        named = (("options unnamed", bare), ("options named", listed))
        found = {strength: _likeliest(model, questions, choices) for strength, questions in named}
        levels = [
            Level.of(items, [own[place] for own, place in zip(choices, best, strict=True)], strength,
                     told=[place == 0 for place in best])
            for strength, best in found.items()
        ]  # fmt: skip
        return Attempt(levels=tuple(levels))


def _likeliest(model: LanguageModel, questions: Sequence[Sequence[str]], choices: Sequence[Sequence[str]]) -> list[int]:
    """Place of the likeliest choice of each item, over all forms of its question."""
    rows = [
        QA(id=f"{number}/{form}/{place}", question=question, answer=choice)
        for number, (forms, own) in enumerate(zip(questions, choices, strict=True))
        for form, question in enumerate(forms)
        for place, choice in enumerate(own)
    ]
    return losses(model, rows).view(len(choices), -1, len(choices[0])).mean(1).argmin(1).tolist()


def _spoken(choices: Sequence[str]) -> str:
    return ", ".join(choice.rstrip(".") for choice in choices)


def others(splits: Splits[Scope]) -> list[str]:
    """Other answers of the same relation, each once."""
    return list(dict.fromkeys(item.answer for item in examples(splits)))


@torch.no_grad()
def losses(model: LanguageModel, rows: Sequence[QA]) -> torch.Tensor:
    """Negative log-probability a token of each answer, ``(rows,)``."""
    chunks = (rows[start : start + BATCH] for start in range(0, len(rows), BATCH))
    with evaluating(model.module):
        return torch.cat([model.example_loss(model.collate(chunk)).cpu() for chunk in chunks])
