"""SAM-NPO: negative preference optimisation where the loss is worst nearby, so that relearning finds no easy way back.

    L = gamma mean_F NPO(theta + e) + alpha mean_R CE(theta),   e = rho g / |g|,   g = grad NPO(theta)

e carries no gradient; NPO is `NPO`'s forget term.

Source: Fan et al., "Towards LLM Unlearning Resilient to Relearning Attacks: A Sharpness-Aware Minimization Perspective
and Beyond" (ICML 2025), eq. 5 and 6. Authors' settings: rho 0.01 (WMDP) to 0.1.
Deviations: e is found for each example by itself, so that a step does not depend on how its examples are batched;
``ascent = "batch"`` is the published form, one e a batch. Only what is trained is moved: under LoRA the adapter.
With rho = 0 it is `NPO`.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import STRICT, Examples, Needs, Reference
from genunlearn.methods.lm.base.nearby import uphill
from genunlearn.methods.lm.base.objectives import ForgetAndRetain, refuse_several_processes, rows
from genunlearn.ops.token_losses import preference_loss


@dataclass(config=STRICT, frozen=True, kw_only=True)
class SamNPO(ForgetAndRetain):
    """Sharpness-aware negative preference optimisation."""

    name: ClassVar[str] = "sam_npo"
    needs: ClassVar[Needs] = Needs(retain=True, reference=True)
    reference_scores: ClassVar[tuple[tuple[str, str], ...]] = (("forget", "sequence_nll"),)
    asks_reference_else: ClassVar[bool] = False
    paper: ClassVar[str] = "Fan et al., ICML 2025"
    equation: ClassVar[str] = "NPO(theta + rho g / |g|) on F + alpha CE(R)"

    beta: Annotated[float, Field(gt=0, description="inverse temperature; 0 in the limit is gradient ascent")] = 0.1
    rho: Annotated[float, Field(ge=0, description="how far the weights are moved")] = 0.1
    ascent: Annotated[
        Literal["example", "batch"], Field(description="whether each example or each batch has its own worst weights")
    ] = "example"

    def forget_values(self, examples: Examples, model: Any, reference: Reference) -> Tensor:
        """The loss of each answer at the worst weights nearby, ``(batch,)``.

        Raises:
            NeedNotMet: Several processes share the model.
        """
        refuse_several_processes(self, model)
        before = reference.ask("sequence_nll", examples)  # now, since weights that are moved may hide its own
        examples = examples.padded()
        if self.ascent == "batch":
            return self._worst(examples, before, model)
        parts = zip(rows(examples), before.split(1), strict=True)
        return torch.cat([self._worst(row, nll, model) for row, nll in parts])

    def _values(self, examples: Examples, before: Tensor, model: Any) -> Tensor:
        return preference_loss(model.sequence_nll(examples) - before, self.beta)

    def _worst(self, examples: Examples, before: Tensor, model: Any) -> Tensor:
        if not self.rho:
            return self._values(examples, before, model)
        values = self._values(examples, before, model) * examples.weight
        with uphill(model, values.sum(), self.rho):
            return self._values(examples, before, model)
