"""Negative preference optimisation: push the forget answers below the reference, held by the retain loss.

    L = gamma mean_F -(2 / beta) log sigma( beta (NLL_theta - NLL_ref) ) + alpha mean_R CE

NLL is summed over the answer's tokens, CE averaged over them; ``reduction: tokens`` averages CE over all of the side's.

Source: Zhang et al., "Negative Preference Optimization: From Catastrophic Collapse to Effective Unlearning"
(COLM 2024), eq. 3, with the retain term of its NPO-RT variant; ``retain_loss = "kl"`` is its NPO-KL variant.
Deviations: by default every retain example counts the same, however long its answer, while the authors' code averages
over all retain tokens: ``reduction: tokens``. The limit beta -> 0 is gradient ascent on the summed NLL, up to a
constant.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import STRICT, Examples, Needs, Reference
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.methods.lm.base.objectives import ForgetAndRetain
from genunlearn.ops.token_losses import preference_loss


@dataclass(config=STRICT, frozen=True, kw_only=True)
class NPO(ForgetAndRetain):
    """Negative preference optimisation."""

    name: ClassVar[str] = "npo"
    needs: ClassVar[Needs] = Needs(retain=True, reference=True)
    reference_scores: ClassVar[tuple[tuple[str, str], ...]] = (("forget", "sequence_nll"),)
    asks_reference_else: ClassVar[bool] = False
    model_scores: ClassVar[tuple[tuple[str, str], ...]] = (("forget", "sequence_nll"),)
    paper: ClassVar[str] = "Zhang et al., COLM 2024"
    equation: ClassVar[str] = "-(2/beta) log sigma(beta (NLL - NLL_ref)) on F + alpha CE(R)"

    beta: Annotated[float, Field(gt=0, description="inverse temperature; 0 in the limit is gradient ascent")] = 0.1

    def forget_values(self, examples: Examples, model: LanguageModel, reference: Reference) -> Tensor:
        """How far each answer is from lying below the reference, ``(batch,)``."""
        margin = model.sequence_nll(examples) - reference.ask("sequence_nll", examples)
        return preference_loss(margin, self.beta)
