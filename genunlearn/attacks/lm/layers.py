"""What stands in the hidden state before the answer begins, layer by layer: what lens and probe have in common."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.attacks.lm.base import Attempt, Level
from genunlearn.attacks.lm.ranking import Ranking, candidates, facts_asked, ranks_of
from genunlearn.contracts import STRICT, Beside, Splits
from genunlearn.data.lm.facts import QA, Scope
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.domains.lm.hidden import layer_at
from genunlearn.ops.evaluation_mode import evaluating

BATCH = 64
ANSWER = "A."
"""Stands in for every answer, so that all prompts end in the same column."""

Depth = Annotated[float, Field(gt=0, le=1)]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class LayerRanks(Ranking):
    """Ranks of the truth by scores that are read off some layers; one level a layer."""

    depths: Annotated[
        tuple[Depth, ...], Field(min_length=1, description="which layers, as shares of their number, the last at 1")
    ] = (0.25, 0.5, 0.75, 1.0)

    def attempt(self, model: LanguageModel, splits: Splits[Scope], beside: Beside[LanguageModel]) -> Attempt:
        """Phrasings in which the truth is among the first candidates, layer by layer."""
        found: dict[str, list[tuple[QA, str, bool]]] = {}
        for fact, items in facts_asked(splits).items():
            answers = self.rankable(model, [items[0].answer, *candidates(splits)])
            for strength, (_, scores) in self.scored(model, fact, items, answers, splits).items():
                rows, count = found.setdefault(strength, []), len(answers)
                for item, rank, place in zip(items, ranks_of(scores), scores.argmax(-1).tolist(), strict=True):
                    said = f"{answers[place]} (the truth has rank {rank} of {count})"
                    rows.append((item, said, rank <= self.most(count)))
        return Attempt(
            levels=tuple(
                Level.of([row[0] for row in rows], [row[1] for row in rows], strength, told=[row[2] for row in rows])
                for strength, rows in found.items()
            )
        )

    def rankable(self, model: LanguageModel, answers: Sequence[str]) -> list[str]:
        """Those answers that scores can tell from each other, the truth first."""
        return list(answers)

    def tables(
        self, model: LanguageModel, questions: Sequence[str], answers: Sequence[str], splits: Splits[Scope]
    ) -> Mapping[str, Tensor]:
        """Scores of every answer, by layer."""
        states = before_answers(model, questions)
        count = states.shape[1]
        layers = dict.fromkeys(layer_at(None, depth - 1e-9, count) for depth in self.depths)
        with torch.no_grad():
            tables = self.read(model, {layer: states[:, layer] for layer in layers}, answers, splits)
        return {f"layer {layer + 1} of {count}": table.cpu() for layer, table in tables.items()}

    @abc.abstractmethod
    def read(
        self, model: LanguageModel, states: Mapping[int, Tensor], answers: Sequence[str], splits: Splits[Scope]
    ) -> Mapping[int, Tensor]:
        """Scores ``(questions, answers)`` by layer, from states ``(questions, width)``."""


@torch.no_grad()
def before_answers(model: LanguageModel, questions: Sequence[str]) -> Tensor:
    """What every layer puts out at the last token of each prompt, ``(questions, layers, width)``, float32.

    The last layer's is normalised.
    """
    items = [QA(id=question, question=question, answer=ANSWER) for question in questions]
    chunks = (items[start : start + BATCH] for start in range(0, len(items), BATCH))
    with evaluating(model.module):
        return torch.cat([model.hidden_states(model.collate(chunk))[:, 0].float() for chunk in chunks])
