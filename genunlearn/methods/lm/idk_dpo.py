"""Direct preference for refusals: "I don't know" above the true answer, both measured against the reference.

    L = gamma mean_F -(2 / beta) log sigma( beta [ (logp - logp_ref)(refusal) - (logp - logp_ref)(truth) ] )
        + alpha mean_R CE

Source: Rafailov et al., "Direct Preference Optimization" (NeurIPS 2023); as an unlearning baseline with refusal
answers in Maini et al., "TOFU" (COLM 2024).
Deviations: the refusals are this project's own lines; the factor 2 / beta makes the scale that of NPO; every retain
example counts the same, however long its answer, unless ``reduction: tokens``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch.nn.functional import logsigmoid

from genunlearn.contracts import (
    STRICT,
    Batch,
    Needs,
    Objective,
    Reduction,
    Reference,
    Splits,
    Term,
    Terms,
    with_sides,
)
from genunlearn.data.lm.refusals import REFUSALS
from genunlearn.domains.lm.adapter import LanguageModel


@dataclass(config=STRICT, frozen=True, kw_only=True)
class IdkDPO(Objective[LanguageModel]):
    """Preference for refusals over the true answers."""

    name: ClassVar[str] = "idk_dpo"
    domains: ClassVar[frozenset[str]] = frozenset({"lm"})
    needs: ClassVar[Needs] = Needs(retain=True, reference=True)
    reference_scores: ClassVar[tuple[tuple[str, str], ...]] = (
        ("forget", "sequence_nll"),
        ("forget", "alternative_nll"),
    )
    paper: ClassVar[str] = "Rafailov et al., NeurIPS 2023; Maini et al., COLM 2024"
    equation: ClassVar[str] = "-(2/beta) log sigma(beta [lr(refusal) - lr(truth)]) on F + alpha CE(R)"

    beta: Annotated[float, Field(gt=0, description="inverse temperature of the preference")] = 0.1
    gamma: Annotated[float, Field(ge=0, description="weight of the forget term")] = 1.0
    alpha: Annotated[float, Field(ge=0, description="weight of the loss on the retain set")] = 1.0
    reduction: Reduction = "examples"

    def prepare(self, splits: Splits, seed: int) -> Splits:
        """Give every forget item a refusal, drawn by `seed`."""
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randint(len(REFUSALS), (len(splits.forget),), generator=generator).tolist()
        forget = [
            replace(item, alternative=item.alternative or REFUSALS[i])
            for item, i in zip(splits.forget, drawn, strict=True)
        ]
        return with_sides(splits, forget, splits.retain)

    def loss(self, batch: Batch, model: LanguageModel, reference: Reference) -> Terms:
        """Two terms, ``forget`` and ``retain``."""
        terms = {}
        if batch.forget is not None:
            refusal = reference.ask("alternative_nll", batch.forget) - model.alternative_nll(batch.forget)
            truth = reference.ask("sequence_nll", batch.forget) - model.sequence_nll(batch.forget)
            values = -2 / self.beta * logsigmoid(self.beta * (refusal - truth))
            terms["forget"] = Term.of(values, batch.forget, "forget", self.gamma)
        if batch.retain is not None:
            values = model.example_loss(batch.retain)
            terms["retain"] = Term.of(values, batch.retain, "retain", self.alpha, self.reduction)
        return terms
