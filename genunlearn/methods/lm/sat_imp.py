"""SatImp: climb the loss with a weight for what is known (saturation) and one for what matters (importance).

    L = gamma mean_F mean_t -( p_t^beta1 (1 - p_t)^beta2 CE_t ) + alpha mean_R CE

p_t is the probability of token t of the answer; the weights carry no gradient.

Source: Yang et al., "Exploring Criteria of Loss Reweighting to Enhance LLM Unlearning" (ICML 2025). Authors'
settings: beta1 5, beta2 1, gamma 0.1, alpha 1; gamma 1 with alpha 0.1 where more is to go.
Deviations: tokens are averaged within their answer and then over answers, not over all tokens of a batch. With
beta1 = beta2 = 0 it is gradient ascent, with beta2 = 0 `WGA`. A token of probability 1 has weight 0 where beta2 > 0:
an answer that the model knows by heart is left alone.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import STRICT, Examples, Reference
from genunlearn.methods.lm.base.objectives import ForgetAndRetain
from genunlearn.ops.token_losses import answer_mean


@dataclass(config=STRICT, frozen=True, kw_only=True)
class SatImp(ForgetAndRetain):
    """Gradient ascent weighted by saturation and importance."""

    name: ClassVar[str] = "sat_imp"
    model_scores: ClassVar[tuple[tuple[str, str], ...]] = (("forget", "token_logprobs"),)
    paper: ClassVar[str] = "Yang et al., ICML 2025"
    equation: ClassVar[str] = "-p^beta1 (1 - p)^beta2 CE(F) + alpha CE(R)"

    beta1: Annotated[float, Field(ge=0, description="how much less an unlikely token weighs")] = 5.0
    beta2: Annotated[float, Field(ge=0, description="how much less a certain token weighs")] = 1.0
    gamma: Annotated[float, Field(ge=0, description="weight of the forget term")] = 0.1

    def forget_values(self, examples: Examples, model: Any, reference: Reference) -> Tensor:
        """Minus the weighted loss of each answer, ``(batch,)``."""
        logprobs = model.token_logprobs(examples)
        known = logprobs.detach()
        weight = known.mul(self.beta1).exp() * (-torch.expm1(known)).pow(self.beta2)
        return answer_mean(weight * logprobs, model.output_labels(examples))
