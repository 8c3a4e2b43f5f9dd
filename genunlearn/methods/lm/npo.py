"""Negative preference optimisation: push the forget answers below the reference, held by the retain loss.

    L = gamma mean_F -(2 / beta) log sigma( beta (NLL_theta - NLL_ref) ) + alpha mean_R CE

NLL is summed over the answer's tokens, CE averaged over them; ``reduction: tokens`` averages CE over all of the side's.

Source: Zhang et al., "Negative Preference Optimization: From Catastrophic Collapse to Effective Unlearning"
(COLM 2024), eq. 3, with the retain term of its NPO-RT variant.
Deviations: by default every retain example counts the same, however long its answer, while the authors' code averages
over all retain tokens: ``reduction: tokens``. The limit beta -> 0 is gradient ascent on the summed NLL, up to a
constant.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch.nn.functional import logsigmoid

from genunlearn.contracts import STRICT, Batch, Needs, Objective, Reduction, Reference, Term, Terms
from genunlearn.domains.lm.adapter import LanguageModel


@dataclass(config=STRICT, frozen=True, kw_only=True)
class NPO(Objective[LanguageModel]):
    """Negative preference optimisation."""

    name: ClassVar[str] = "npo"
    domains: ClassVar[frozenset[str]] = frozenset({"lm"})
    needs: ClassVar[Needs] = Needs(retain=True, reference=True)
    reference_scores: ClassVar[tuple[tuple[str, str], ...]] = (("forget", "sequence_nll"),)
    paper: ClassVar[str] = "Zhang et al., COLM 2024"
    equation: ClassVar[str] = "-(2/beta) log sigma(beta (NLL - NLL_ref)) on F + alpha CE(R)"

    beta: Annotated[float, Field(gt=0, description="inverse temperature; 0 in the limit is gradient ascent")] = 0.1
    gamma: Annotated[float, Field(ge=0, description="weight of the forget term")] = 1.0
    alpha: Annotated[float, Field(ge=0, description="weight of the loss on the retain set")] = 1.0
    reduction: Reduction = "examples"

    def loss(self, batch: Batch, model: LanguageModel, reference: Reference) -> Terms:
        """Two terms, ``forget`` and ``retain``."""
        terms = {}
        if batch.forget is not None:
            margin = model.sequence_nll(batch.forget) - reference.ask("sequence_nll", batch.forget)
            values = -2 / self.beta * logsigmoid(self.beta * margin)
            terms["forget"] = Term.of(values, batch.forget, "forget", self.gamma)
        if batch.retain is not None:
            values = model.example_loss(batch.retain)
            terms["retain"] = Term.of(values, batch.retain, "retain", self.alpha, self.reduction)
        return terms
