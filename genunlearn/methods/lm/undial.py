"""UNDIAL: distil the model from itself with the true token's logit lowered.

    L = gamma mean_F CE( softmax(z_ref - beta onehot(y)), theta ) + alpha mean_R CE

z_ref are the original's logits; a token's loss is averaged over the answer.

Source: Dong et al., "UNDIAL: Self-Distillation with Adjusted Logits for Robust Unlearning in Large Language Models"
(NAACL 2025), eq. 3 and 4. Authors' settings: beta 10, learning rate 1e-4, 10 epochs, no retain term.
Deviations: only the answer's tokens count. A widely used implementation averages over prompt and padding as well and
lowers there the logit of an arbitrary token.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import STRICT, Examples, Needs, Reference
from genunlearn.methods.lm.base.objectives import ForgetAndRetain
from genunlearn.ops.token_losses import answer_mean, cross_entropy, shift_label


@dataclass(config=STRICT, frozen=True, kw_only=True)
class UNDIAL(ForgetAndRetain):
    """Self-distillation with adjusted logits."""

    name: ClassVar[str] = "undial"
    needs: ClassVar[Needs] = Needs(reference=True)
    reference_scores: ClassVar[tuple[tuple[str, str], ...]] = (("forget", "output_logits"),)
    paper: ClassVar[str] = "Dong et al., NAACL 2025"
    equation: ClassVar[str] = "CE(softmax(z_ref - beta onehot(y)), theta) on F"

    beta: Annotated[float, Field(ge=0, description="by how much the true token's logit is lowered")] = 10.0
    alpha: Annotated[float, Field(ge=0, description="weight of the loss on the retain set")] = 0.0

    def forget_values(self, examples: Examples, model: Any, reference: Reference) -> Tensor:
        """Cross-entropy against the original with the true token lowered, ``(batch,)``."""
        labels = model.output_labels(examples)
        target = shift_label(reference.ask("output_logits", examples), labels, -self.beta)
        return answer_mean(cross_entropy(target, model.output_logits(examples)), labels)
