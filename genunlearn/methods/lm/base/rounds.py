"""Protocols that train in rounds until no question is answered with the truth, and targets written down beforehand.

After each round the forget questions are asked, and questions of the retain set where fewer are told than before. Of
all rounds whose utility is above the floor, the weights that tell least are kept.
"""

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
    BestWeights,
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
from genunlearn.data.lm.facts import QA
from genunlearn.data.lm.telling import evenly, recall
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.ops.evaluation_mode import evaluating
from genunlearn.ops.logprobs import IGNORE

CHUNK = 16
"""Answers in one forward pass whose whole predictions are kept."""

Places = list[tuple[list[int], list[float]]]
"""Of each token of an answer the likeliest tokens in its place and their probabilities; none where nothing counts."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Watched(Protocol[LanguageModel]):
    """A protocol that keeps its best weights and has a floor under what must stay."""

    domains: ClassVar[frozenset[str]] = frozenset({"lm"})

    utility_floor: Annotated[
        float, Field(ge=0, le=1, description="least recall of what must stay, as a share of what it was before")
    ] = 0.8
    monitored: Annotated[int, Field(ge=1, description="retain questions that the floor is measured on")] = 64

    def watch(self, train: Train, model: Any, splits: Splits, journal: Journal, unit: str = "round") -> BestWeights:
        """What is kept of a training that begins now; as `BestWeights` has it."""
        watched = evenly(splits.retain or (), self.monitored)

        def measure(name: str) -> float:
            return journal.stage(name, lambda: recall(model, watched))

        return BestWeights(train, self.utility_floor, measure, unit=unit)

    @staticmethod
    def outcome(best: BestWeights, rows: Sequence[Mapping[str, Any]] = ()) -> Outcome:
        """Put the best weights in place and say how it ended."""
        best.settle()
        if best.recall is None:
            return Outcome(status="utility_floor", reason=best.summary, rounds=rows)
        if best.recall == 0:
            return Outcome(status="forgotten", reason=f"no question is told at {best.unit} {best.at:g}", rounds=rows)
        return Outcome(status="not_forgotten", reason=f"still told; {best.summary}", rounds=rows)


@dataclass(config=STRICT, frozen=True, kw_only=True)
class InRounds(Watched):
    """Training in rounds; after each one the forget questions are asked."""

    rounds: Annotated[int, Field(ge=1, description="most rounds of training")] = 20
    steps_per_round: Annotated[int, Field(ge=1, description="optimiser steps a round")] = 10

    def until_forgotten(
        self, train: Train, objective: Objective, given: Splits, model: Any, journal: Journal, splits: Splits
    ) -> Outcome:
        """Train on what is `given` until none of the forget questions of `splits` is answered with the truth."""
        best = self.watch(train, model, splits, journal)
        rows: list[dict[str, Any]] = []
        for number in range(1, self.rounds + 1):
            train(objective, given, steps=self.steps_per_round)
            told = journal.stage(f"round {number}/recall", lambda: recall(model, splits.forget))
            rows.append({"round": number, "steps": self.steps_per_round, "forget_recall": told})
            best.offer(told, number)
            if best.recall == 0:
                break
        return self.outcome(best, rows)


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
