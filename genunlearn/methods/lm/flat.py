"""FLAT: raise a template answer and lower the forget answer, weighed by an f-divergence between the two.

    L = mean_F  f*( g*(P(y_forget)) ) - g*( P(y_template) )

P is the probability of an answer's tokens, averaged over them; f* is the conjugate and g* the output activation:

    total variation  g*(v) = tanh(v) / 2            f*(u) = u
    kl               g*(v) = v                      f*(u) = exp(u - 1)
    jensen-shannon   g*(v) = log(2 / (1 + e^-v))    f*(u) = -log(2 - e^u)
    pearson          g*(v) = v                      f*(u) = u^2 / 4 + u

Source: Wang et al., "LLM Unlearning via Loss Adjustment with Only Forget Data" (ICLR 2025), eq. 7 and table 1.
Deviations: the template answers are this project's own refusals; `alpha` adds a retain term, which the paper has not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from genunlearn.contracts import STRICT, Examples, Needs, Reference, Splits
from genunlearn.methods.lm.base.objectives import ForgetAndRetain, mean_probability, with_refusals

Divergence = Literal["kl", "total_variation", "jensen_shannon", "pearson"]

PAIRS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    # g*, and f* after g*, which saves a difference of nearly equal numbers
    "kl": (lambda v: v, lambda v: (v - 1).exp()),
    "total_variation": (lambda v: torch.tanh(v) / 2, lambda v: torch.tanh(v) / 2),
    "jensen_shannon": (lambda v: math.log(2) + logsigmoid(v), lambda v: softplus(v) - math.log(2)),
    "pearson": (lambda v: v, lambda v: v.square() / 4 + v),
}


@dataclass(config=STRICT, frozen=True, kw_only=True)
class FLAT(ForgetAndRetain):
    """Forget data only loss adjustment."""

    name: ClassVar[str] = "flat"
    needs: ClassVar[Needs] = Needs()
    model_scores: ClassVar[tuple[tuple[str, str], ...]] = (
        ("forget", "sequence_nll"),
        ("forget", "alternative_nll"),
    )
    paper: ClassVar[str] = "Wang et al., ICLR 2025"
    equation: ClassVar[str] = "f*(g*(P(forget))) - g*(P(template)) on F"

    divergence: Annotated[Divergence, Field(description="f-divergence that weighs the two answers")] = "kl"
    alpha: Annotated[float, Field(ge=0, description="weight of the loss on the retain set")] = 0.0

    def prepare(self, splits: Splits, seed: int) -> Splits:
        """Give every forget item a refusal as its template answer, drawn by `seed`."""
        return with_refusals(super().prepare(splits, seed), seed)

    def forget_values(self, examples: Examples, model: Any, reference: Reference) -> Tensor:
        """The adjusted loss of each question, ``(batch,)``."""
        activation, conjugate = PAIRS[self.divergence]
        template = mean_probability(examples, model, "alternative_")
        return conjugate(mean_probability(examples, model)) - activation(template)
