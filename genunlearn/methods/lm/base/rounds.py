"""Protocols that train in rounds until no question is answered with the truth, and targets written down beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass as plain_dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import (
    STRICT,
    Batch,
    Examples,
    Journal,
    Objective,
    Outcome,
    Protocol,
    Reference,
    Splits,
    Term,
    Terms,
    Train,
)
from genunlearn.data.answers.leak import gives
from genunlearn.data.lm.facts import QA
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.ops.evaluation_mode import evaluating
from genunlearn.ops.logprobs import IGNORE

CHUNK = 16
"""Answers in one forward pass whose whole predictions are kept."""

Places = list[tuple[list[int], list[float]]]
"""Of each token of an answer the likeliest tokens in its place and their probabilities; none where nothing counts."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class InRounds(Protocol[LanguageModel]):
    """Training in rounds; after each one the forget questions are asked."""

    domains: ClassVar[frozenset[str]] = frozenset({"lm"})

    rounds: Annotated[int, Field(ge=1, description="most rounds of training")] = 20
    steps_per_round: Annotated[int, Field(ge=1, description="optimiser steps a round")] = 10

    def until_forgotten(
        self, train: Train, objective: Objective, splits: Splits, model: Any, journal: Journal, asked: Sequence[QA]
    ) -> Outcome:
        """Train on `splits` until none of the questions `asked` is answered with the truth."""
        rows: list[dict[str, Any]] = []
        for number in range(1, self.rounds + 1):
            train(objective, splits, steps=self.steps_per_round)
            told = journal.stage(f"round {number}/recall", lambda: recall(model, asked))
            rows.append({"round": number, "steps": self.steps_per_round, "forget_recall": told})
            if not told:
                return Outcome(status="forgotten", reason=f"forgotten after {number} rounds", rounds=rows)
        reason = f"{told:.0%} of the questions are still answered with the truth after {self.rounds} rounds"
        return Outcome(status="not_forgotten", reason=reason, rounds=rows)


def recall(model: Any, items: Sequence[QA]) -> float:
    """Share of the questions that are answered with the truth."""
    texts = model.answer([item.question for item in items])
    return sum(gives(text, item) for text, item in zip(texts, items, strict=True)) / len(items)


@torch.no_grad()
def answer_logits(model: Any, items: Sequence[QA]) -> list[Tensor]:
    """What the model predicts in the place of every token of each item's answer, ``(tokens, vocab)`` each."""
    parts = []
    with evaluating(model.module):
        for start in range(0, len(items), CHUNK):
            examples = model.collate(items[start : start + CHUNK])
            counted = model.output_labels(examples) != IGNORE
            parts += [row[mask].float() for row, mask in zip(model.output_logits(examples), counted, strict=True)]
    return parts


def write_places(probabilities: Tensor, top: int) -> Places:
    """The `top` likeliest tokens of each place with their shares of what these have together.

    Args:
        probabilities: ``(tokens, vocab)``; a row of zeros stands for a place that does not count.
        top: How many tokens are kept.
    """
    best = probabilities.topk(min(top, probabilities.shape[-1]))
    shares = best.values / best.values.sum(-1, keepdim=True).clamp_min(1e-30)
    rows = zip(best.indices.tolist(), shares.tolist(), strict=True)
    return [(ids, share) if sum(share) > 0.5 else ([], []) for ids, share in rows]


@plain_dataclass(frozen=True, kw_only=True)
class TargetTuning(Objective[LanguageModel]):
    """Cross-entropy against written-down predictions on the forget side, beside the plain loss of the retain side.

    Attributes:
        targets: Places of each forget item's answer, by its identifier.
        alpha: Weight of the loss on the retain set.
    """

    name: ClassVar[str] = "target_tuning"
    domains: ClassVar[frozenset[str]] = frozenset({"lm"})
    equation: ClassVar[str] = "CE(target, theta) on F + alpha CE(R)"

    targets: Mapping[str, Places]
    alpha: float

    def loss(self, batch: Batch, model: Any, reference: Reference) -> Terms:
        """Two terms, ``forget`` and, where `alpha` is above 0, ``retain``."""
        terms = {}
        if batch.forget is not None:
            terms["forget"] = Term.of(self._values(batch.forget, model), batch.forget, "forget")
        if batch.retain is not None and self.alpha:
            terms["retain"] = Term.of(model.example_loss(batch.retain), batch.retain, "retain", self.alpha)
        return terms

    def _values(self, examples: Examples, model: Any) -> Tensor:
        logprobs = model.output_logits(examples).float().log_softmax(-1)
        ids, shares = self._tensors(examples.ids, logprobs.shape[1])
        ids, shares = ids.to(logprobs.device), shares.to(logprobs)
        losses = -(shares * logprobs.gather(-1, ids)).sum(-1)
        return losses.sum(-1) / shares.sum(-1).gt(0).sum(-1).clamp_min(1)

    def _tensors(self, items: Sequence[str], length: int) -> tuple[Tensor, Tensor]:
        """Targets as ``(batch, length, top)`` ids and shares, answers ending in the last column."""
        top = max(len(ids) for item in items for ids, _ in self.targets[item]) or 1
        ids, shares = torch.zeros(len(items), length, top, dtype=torch.long), torch.zeros(len(items), length, top)
        for row, item in enumerate(items):
            places = self.targets[item]
            for place, (tokens, share) in enumerate(places, start=length - len(places)):
                ids[row, place, : len(tokens)] = torch.tensor(tokens, dtype=torch.long)
                shares[row, place, : len(share)] = torch.tensor(share)
        return ids, shares
