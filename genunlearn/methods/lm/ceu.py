"""CE-U: learn one's own prediction with the true token taken out.

    L = gamma mean_F mean_t CE( softmax(z_theta with z_y = -inf), theta ) + alpha mean_R CE

The target is the present model's and carries no gradient.

Source: Yang, "CE-U: Cross Entropy Unlearning" (2025). Author's settings: no retain term; the first token of an answer
is left out.
Deviations: all tokens of an answer count. An answer to a question about one fact often begins with its only telling
token, and without it nothing would be forgotten; ``skip_tokens = 1`` is the published form. `alpha` adds a retain
term, which the paper has not.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import STRICT, Examples, Needs, Reference
from genunlearn.methods.lm.base.objectives import ForgetAndRetain
from genunlearn.ops.logprobs import IGNORE
from genunlearn.ops.token_losses import EXCLUDED, answer_mean, cross_entropy, shift_label


@dataclass(config=STRICT, frozen=True, kw_only=True)
class CEU(ForgetAndRetain):
    """Cross-entropy unlearning."""

    name: ClassVar[str] = "ceu"
    needs: ClassVar[Needs] = Needs()
    paper: ClassVar[str] = "Yang, 2025"
    equation: ClassVar[str] = "CE(softmax(z with z_y = -inf), theta) on F"

    skip_tokens: Annotated[int, Field(ge=0, description="tokens at the beginning of an answer that do not count")] = 0
    alpha: Annotated[float, Field(ge=0, description="weight of the loss on the retain set")] = 0.0

    def forget_values(self, examples: Examples, model: Any, reference: Reference) -> Tensor:
        """Cross-entropy against the model's own prediction without the true token, ``(batch,)``."""
        logits, labels = model.output_logits(examples), model.output_labels(examples)
        target = shift_label(logits.detach().float(), labels, EXCLUDED)
        place = (labels != IGNORE).cumsum(-1)
        counted = torch.where(place > self.skip_tokens, labels, IGNORE)
        return answer_mean(cross_entropy(target, logits), counted)
