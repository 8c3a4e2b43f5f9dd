"""AltPO: prefer plausible other answers, which the model itself writes, to the true one.

    L = mean_F -(2 / beta) log sigma( beta [ (logp - logp_0)(other) - (logp - logp_0)(truth) ] ) + alpha mean_R CE

Source: Mekala et al., "Alternate Preference Optimization for Unlearning Factual Knowledge in Large Language Models"
(COLING 2025), eq. 2. Authors' settings: 5 other answers a question, beta 0.1, learning rate 2e-5 to 5e-5, 10 epochs,
alpha 1 or 2.
Deviations: the model is asked for other answers of the same kind, not for whole sentences, and an answer that tells the
truth is filtered out; the original's scores are written down once; training ends when nothing is told any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass as plain_dataclass
from dataclasses import replace
from functools import partial
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
from genunlearn.data.lm.facts import QA
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.methods.lm.base.rounds import CHUNK, InRounds
from genunlearn.methods.lm.base.subjects import fact_of, siblings_of, writer
from genunlearn.ops.evaluation_mode import evaluating
from genunlearn.ops.token_losses import preference_loss


@plain_dataclass(frozen=True, kw_only=True)
class PreferenceTuning(Objective[LanguageModel]):
    """Preference for the alternative of each forget item, measured against written-down scores of the original.

    Attributes:
        scores: ``(NLL of the truth, NLL of the alternative)`` on the original, by item.
        beta: Inverse temperature.
        alpha: Weight of the loss on the retain set.
    """

    name: ClassVar[str] = "preference_tuning"
    domains: ClassVar[frozenset[str]] = frozenset({"lm"})
    equation: ClassVar[str] = "-(2/beta) log sigma(beta [lr(other) - lr(truth)]) on F + alpha CE(R)"

    scores: Mapping[str, Sequence[float]]
    beta: float
    alpha: float

    def loss(self, batch: Batch, model: Any, reference: Reference) -> Terms:
        """Two terms, ``forget`` and, where `alpha` is above 0, ``retain``."""
        terms = {}
        if (examples := batch.forget) is not None:
            truth, other = model.sequence_nll(examples), model.alternative_nll(examples)
            before = torch.tensor([self.scores[key] for key in examples.ids]).to(truth)
            margin = (before[:, 1] - other) - (before[:, 0] - truth)
            terms["forget"] = Term.of(preference_loss(margin, self.beta), examples, "forget")
        if batch.retain is not None and self.alpha:
            terms["retain"] = Term.of(model.example_loss(batch.retain), batch.retain, "retain", self.alpha)
        return terms


@dataclass(config=STRICT, frozen=True, kw_only=True)
class AltPO(InRounds):
    """Alternate preference optimisation."""

    name: ClassVar[str] = "alt_po"
    needs: ClassVar[Needs] = Needs(retain=True, facts=True)
    paper: ClassVar[str] = "Mekala et al., COLING 2025"
    equation: ClassVar[str] = "-(2/beta) log sigma(beta [lr(other) - lr(truth)]) on F + alpha CE(R)"

    beta: Annotated[float, Field(gt=0, description="inverse temperature of the preference")] = 0.1
    alternatives: Annotated[int, Field(ge=1, description="other answers a question")] = 5
    answers: Annotated[tuple[str, ...], Field(description="other answers, instead of those the model writes")] = ()
    alpha: Annotated[float, Field(ge=0, description="weight of the loss on the retain set")] = 1.0
    seed: Annotated[int, Field(ge=0, description="seed of everything sampled")] = 0

    def run(self, train: Train, model: Any, splits: Splits, journal: Journal) -> Outcome:
        """Let the model write other answers, score them, and train until the truth is told no more.

        Raises:
            DataError: A question belongs to no fact, or the model names no other answer.
        """
        others: dict[str, Sequence[str]] = {}
        asked = writer(model, self.seed, is_checked=True, siblings=siblings_of(splits))
        for fact in {str(item.fact): fact_of(item, splits) for item in splits.forget}.values():
            ask = partial(asked.name_wrong, fact, self.alternatives)
            others[fact.id] = self.answers or journal.stage(f"other answers/{fact.id}", ask)
        pairs = [
            replace(item, id=f"{item.id}/{n}", alternative=f"{name}.")
            for item in splits.forget
            for n, name in enumerate(others[str(item.fact)])
        ]
        scores = journal.stage("scores", lambda: score(model, pairs))
        objective = PreferenceTuning(scores=scores, beta=self.beta, alpha=self.alpha)
        given = with_sides(splits, pairs, splits.retain if self.alpha else None)
        return self.until_forgotten(train, objective, given, model, journal, splits)


@torch.no_grad()
def score(model: Any, pairs: Sequence[QA]) -> dict[str, list[float]]:
    """Negative log-likelihood of the truth and of the alternative, by item."""
    scores: dict[str, list[float]] = {}
    with evaluating(model.module):
        for start in range(0, len(pairs), CHUNK):
            examples = model.collate(pairs[start : start + CHUNK])
            rows = torch.stack([model.sequence_nll(examples), model.alternative_nll(examples)], dim=1)
            scores |= dict(zip(examples.ids, rows.tolist(), strict=True))
    return scores
