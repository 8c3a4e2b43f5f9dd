"""Direct preference for refusals: "I don't know" above the true answer, both measured against the reference.

    L = gamma mean_F -(2 / beta) log sigma( beta [ (logp - logp_ref)(refusal) - (logp - logp_ref)(truth) ] )
        + alpha mean_R CE

Source: Rafailov et al., "Direct Preference Optimization" (NeurIPS 2023); as an unlearning baseline with refusal
answers in Maini et al., "TOFU" (COLM 2024).
Deviations: the refusals are this project's own lines; the factor 2 / beta makes the scale that of NPO; every retain
example counts the same, however long its answer, unless ``reduction: tokens``.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import STRICT, Examples, Needs, Reference, Splits
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.methods.lm.base.objectives import ForgetAndRetain, with_refusals
from genunlearn.ops.token_losses import preference_loss


@dataclass(config=STRICT, frozen=True, kw_only=True)
class IdkDPO(ForgetAndRetain):
    """Preference for refusals over the true answers."""

    name: ClassVar[str] = "idk_dpo"
    needs: ClassVar[Needs] = Needs(retain=True, reference=True)
    reference_scores: ClassVar[tuple[tuple[str, str], ...]] = (
        ("forget", "sequence_nll"),
        ("forget", "alternative_nll"),
    )
    asks_reference_else: ClassVar[bool] = False
    model_scores: ClassVar[tuple[tuple[str, str], ...]] = reference_scores
    paper: ClassVar[str] = "Rafailov et al., NeurIPS 2023; Maini et al., COLM 2024"
    equation: ClassVar[str] = "-(2/beta) log sigma(beta [lr(refusal) - lr(truth)]) on F + alpha CE(R)"

    beta: Annotated[float, Field(gt=0, description="inverse temperature of the preference")] = 0.1

    def prepare(self, splits: Splits, seed: int) -> Splits:
        """Give every forget item a refusal, drawn by `seed`."""
        return with_refusals(super().prepare(splits, seed), seed)

    def forget_values(self, examples: Examples, model: LanguageModel, reference: Reference) -> Tensor:
        """How far each refusal is from being preferred, ``(batch,)``."""
        refusal = reference.ask("alternative_nll", examples) - model.alternative_nll(examples)
        truth = reference.ask("sequence_nll", examples) - model.sequence_nll(examples)
        return preference_loss(refusal - truth, self.beta)
