"""Inverted hinge: lower the true token's probability until another one is the likeliest, and no further.

    L = gamma mean_F mean_t ( 1 + p(y_t) - max_{v != y_t} p(v) ) + alpha mean_R CE

Bounded to [0, 2]; the gradient moves mass to the runner-up instead of to the whole vocabulary.

Source: Cha et al., "Towards Robust and Parameter-Efficient Knowledge Unlearning for LLMs" (ICLR 2025), eq. 3, the loss
of LoKU.
Deviations: the LoRA is initialised as ever; the paper's Fisher-weighted initialisation (FILA) is left out.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import STRICT, Examples, Reference
from genunlearn.methods.lm.base.objectives import ForgetAndRetain
from genunlearn.ops.token_losses import answer_mean, best_other_logprob, label_logprobs


@dataclass(config=STRICT, frozen=True, kw_only=True)
class InvertedHinge(ForgetAndRetain):
    """The inverted hinge loss of LoKU."""

    name: ClassVar[str] = "inverted_hinge"
    paper: ClassVar[str] = "Cha et al., ICLR 2025"
    equation: ClassVar[str] = "1 + p(y) - max_{v != y} p(v) on F + alpha CE(R)"

    def forget_values(self, examples: Examples, model: Any, reference: Reference) -> Tensor:
        """How far the true tokens are above the likeliest others, plus 1, ``(batch,)``."""
        logits, labels = model.output_logits(examples), model.output_labels(examples)
        margin = label_logprobs(logits, labels).exp() - best_other_logprob(logits, labels).exp()
        return answer_mean(1 + margin, labels)
