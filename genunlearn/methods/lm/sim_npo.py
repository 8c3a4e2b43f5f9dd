"""SimNPO: negative preference optimisation without a reference, on the answer's loss a token.

    L = gamma mean_F -(2 / beta) log sigma( beta (NLL / |y| - delta) ) + alpha mean_R CE

Source: Fan et al., "Simplicity Prevails: Rethinking Negative Preference Optimization for LLM Unlearning" (NeurIPS
2025), eq. 4. Authors' settings: TOFU forget10 beta 4.5 and gamma 0.125, forget05 beta 2.5 and gamma 0.1375, delta 0,
learning rate 1e-5, 10 epochs; MUSE beta 0.7, alpha 0.1.
Deviations: none. It is `NPO` with a length-normalised NLL and the constant `delta` in place of the reference's.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import STRICT, Examples, Reference
from genunlearn.methods.lm.base.objectives import ForgetAndRetain
from genunlearn.ops.token_losses import preference_loss


@dataclass(config=STRICT, frozen=True, kw_only=True)
class SimNPO(ForgetAndRetain):
    """Simple negative preference optimisation."""

    name: ClassVar[str] = "sim_npo"
    model_scores: ClassVar[tuple[tuple[str, str], ...]] = (("forget", "example_loss"),)
    paper: ClassVar[str] = "Fan et al., NeurIPS 2025"
    equation: ClassVar[str] = "-(2/beta) log sigma(beta (NLL/|y| - delta)) on F + alpha CE(R)"

    beta: Annotated[float, Field(gt=0, description="inverse temperature; 0 in the limit is gradient ascent")] = 4.5
    delta: Annotated[float, Field(ge=0, description="loss a token from which an answer counts as forgotten")] = 0.0
    gamma: Annotated[float, Field(ge=0, description="weight of the forget term")] = 0.125

    def forget_values(self, examples: Examples, model: Any, reference: Reference) -> Tensor:
        """How far the loss of each answer is from `delta`, ``(batch,)``."""
        margin = model.example_loss(examples) - self.delta
        return preference_loss(margin, self.beta)
