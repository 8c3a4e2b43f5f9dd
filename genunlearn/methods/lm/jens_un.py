"""JensUn: a bounded divergence towards a refusal on the forget set, and from the original on the retain set.

    L = gamma mean_F mean_t JS( onehot(refusal_t), theta ) + alpha mean_R mean_t JS( theta_ref, theta )

JS is the Jensen-Shannon divergence, at most log 2: no answer can dominate a step, however far it is from its target.

Source: Singh et al., "Unlearning That Lasts: Utility-Preserving, Robust, and Almost Irreversible Forgetting in LLMs"
(2025).
Deviations: the refusals are this project's own lines, one drawn for each question; ``retain_loss`` may be another.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import STRICT, Examples, Needs, Reference, Splits
from genunlearn.methods.base import RETAIN_LOSS, RetainLoss
from genunlearn.methods.lm.base.objectives import ForgetAndRetain, with_refusals
from genunlearn.ops.logprobs import answer_lengths
from genunlearn.ops.token_losses import one_hot_jensen_shannon


@dataclass(config=STRICT, frozen=True, kw_only=True)
class JensUn(ForgetAndRetain):
    """Unlearning by Jensen-Shannon divergences."""

    name: ClassVar[str] = "jens_un"
    needs: ClassVar[Needs] = Needs(retain=True, reference=True)
    paper: ClassVar[str] = "Singh et al., 2025"
    equation: ClassVar[str] = "JS(onehot(refusal), theta) on F + alpha JS(theta_ref, theta) on R"

    retain_loss: Annotated[RetainLoss, Field(description=RETAIN_LOSS)] = "js"

    def prepare(self, splits: Splits, seed: int) -> Splits:
        """Give every forget item a refusal, drawn by `seed`."""
        return with_refusals(super().prepare(splits, seed), seed)

    def forget_values(self, examples: Examples, model: Any, reference: Reference) -> Tensor:
        """How far the model is from giving each refusal, ``(batch,)``."""
        values = one_hot_jensen_shannon(model.token_logprobs(examples, "alternative_"))
        return values.sum(-1) / answer_lengths(examples["alternative_labels"]).clamp_min(1)
