"""PDU: flatten the logits of the forget answers under a bound on the retain loss, by a primal-dual scheme.

    min_theta  mean_F mean_t ( max_v z_tv - mean_v z_tv )^2     so that  mean_R CE <= eps
    L = gamma mean_F ... + mu mean_R CE,    mu <- max(0, mu + step (mean_R CE - eps)) after each round

Source: Entesari et al., "Constrained Entropic Unlearning: A Primal-Dual Framework for Large Language Models" (NeurIPS
2025), algorithm 1. Authors' settings: step 1, multiplier fixed for the first 5 epochs, eps by hand for each model.
Deviations: eps is the original's retain loss and `slack`, which needs no number of the model; the multiplier is updated
after rounds of steps instead of epochs; training ends when nothing is told any more.
"""

from __future__ import annotations

from dataclasses import dataclass as plain_dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass

from genunlearn.contracts import (
    STRICT,
    Batch,
    Journal,
    Needs,
    Objective,
    Outcome,
    Reference,
    Splits,
    Term,
    Terms,
    Train,
    with_sides,
)
from genunlearn.data.lm.telling import recall
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.methods.lm.base.rounds import CHUNK, InRounds
from genunlearn.ops.evaluation_mode import evaluating
from genunlearn.ops.token_losses import answer_mean

MONITORED = 64
"""Retain questions whose loss the bound is about."""


@plain_dataclass(frozen=True, kw_only=True)
class Flattening(Objective[LanguageModel]):
    """Squared margin of the largest logit over the mean one, and the retain loss times a multiplier."""

    name: ClassVar[str] = "flattening"
    domains: ClassVar[frozenset[str]] = frozenset({"lm"})
    equation: ClassVar[str] = "gamma (max z - mean z)^2 on F + mu CE(R)"

    gamma: float
    multiplier: float

    def loss(self, batch: Batch, model: Any, reference: Reference) -> Terms:
        """Two terms, ``forget`` and, where the multiplier is above 0, ``retain``."""
        terms = {}
        if batch.forget is not None:
            logits = model.output_logits(batch.forget).float()
            values = answer_mean((logits.amax(-1) - logits.mean(-1)).square(), model.output_labels(batch.forget))
            terms["forget"] = Term.of(values, batch.forget, "forget", self.gamma)
        if batch.retain is not None and self.multiplier:
            terms["retain"] = Term.of(model.example_loss(batch.retain), batch.retain, "retain", self.multiplier)
        return terms


@dataclass(config=STRICT, frozen=True, kw_only=True)
class PDU(InRounds):
    """Primal-dual unlearning."""

    name: ClassVar[str] = "pdu"
    needs: ClassVar[Needs] = Needs(retain=True)
    paper: ClassVar[str] = "Entesari et al., NeurIPS 2025"
    equation: ClassVar[str] = "gamma (max z - mean z)^2 on F + mu CE(R), mu by dual ascent on CE(R) <= eps"

    gamma: Annotated[float, Field(gt=0, description="weight of the forget term")] = 1.0
    multiplier: Annotated[float, Field(ge=0, description="mu to begin with")] = 1.0
    slack: Annotated[float, Field(ge=0, description="by how much the retain loss may exceed the original's")] = 0.1
    dual_step: Annotated[float, Field(ge=0, description="step of the ascent on mu")] = 1.0
    dual_warmup: Annotated[int, Field(ge=0, description="rounds before mu is updated")] = 5

    def run(self, train: Train, model: Any, splits: Splits, journal: Journal) -> Outcome:
        """Train in rounds, each with the multiplier that the retain loss asks for."""
        kept = list(splits.retain or ())[:: max(1, len(splits.retain or ()) // MONITORED)][:MONITORED]
        bound = self.slack + journal.stage("retain loss before", lambda: mean_loss(model, kept))
        given = with_sides(splits, splits.forget, splits.retain)
        rows: list[dict[str, Any]] = []
        mu = self.multiplier
        best = self.watch(train, model, splits, journal)
        for number in range(1, self.rounds + 1):
            train(Flattening(gamma=self.gamma, multiplier=mu), given, steps=self.steps_per_round)
            told = journal.stage(f"round {number}/recall", lambda: recall(model, splits.forget))
            loss = journal.stage(f"round {number}/retain loss", lambda: mean_loss(model, kept))
            rows.append({"round": number, "forget_recall": told, "retain_loss": loss, "multiplier": mu})
            best.offer(told, number)
            if number > self.dual_warmup:
                mu = max(0.0, mu + self.dual_step * (loss - bound))
            if not told and loss <= bound:
                reason = f"no question is told, within the bound, after {number} rounds"
                return Outcome(status="forgotten", reason=reason, rounds=rows)
        return self.outcome(best, rows)


@torch.no_grad()
def mean_loss(model: Any, items: list) -> float:
    """Mean training loss of the items."""
    with evaluating(model.module):
        losses = [model.example_loss(model.collate(items[n : n + CHUNK])) for n in range(0, len(items), CHUNK)]
    return torch.cat(losses).mean().item()
