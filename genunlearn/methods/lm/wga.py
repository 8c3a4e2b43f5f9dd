"""Weighted gradient ascent: climb the loss most where the model is sure.

    L = gamma mean_F mean_t -( p_t^beta CE_t ) + alpha mean_R CE

p_t is the probability of token t of the answer; the weight p_t^beta carries no gradient.

Source: Wang et al., "Rethinking LLM Unlearning Objectives: A Gradient Perspective and Go Beyond" (ICLR 2025), eq. 8.
Authors' settings: beta 1, learning rate 1e-5, 5 epochs.
Deviations: tokens are averaged within their answer and then over answers, not over all tokens of a batch. With
beta = 0 it is gradient ascent.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import STRICT, Examples, Reference
from genunlearn.methods.lm.base.objectives import ForgetAndRetain
from genunlearn.ops.token_losses import answer_mean


@dataclass(config=STRICT, frozen=True, kw_only=True)
class WGA(ForgetAndRetain):
    """Weighted gradient ascent."""

    name: ClassVar[str] = "wga"
    model_scores: ClassVar[tuple[tuple[str, str], ...]] = (("forget", "token_logprobs"),)
    paper: ClassVar[str] = "Wang et al., ICLR 2025"
    equation: ClassVar[str] = "-p^beta CE(F) + alpha CE(R)"

    beta: Annotated[float, Field(ge=0, description="how much less an unlikely token weighs; 0 is gradient ascent")] = (
        1.0
    )

    def forget_values(self, examples: Examples, model: Any, reference: Reference) -> Tensor:
        """Minus the weighted loss of each answer, ``(batch,)``."""
        logprobs = model.token_logprobs(examples)
        weight = logprobs.detach().mul(self.beta).exp()
        return answer_mean(weight * logprobs, model.output_labels(examples))
