"""The model loaded at few bits, as people do to save memory.

Unlearning that moves weights by less than a quantisation step is rounded away. It takes no data, no gradients and no
skill. As loaders do, every linear layer but the output head is rounded: to NF4 in blocks of 64, or to 8 bits row by
row. A LoRA is folded in first.

Sources: Zhang et al., "Catastrophic Failure of LLM Unlearning via Quantization" (ICLR 2025); Dettmers et al., "QLoRA"
(NeurIPS 2023) for NF4, "LLM.int8()" (NeurIPS 2022) for 8 bits. Deviation: columns of outliers, which LLM.int8() keeps
at 16 bits, are rounded like all others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from typing_extensions import override

from genunlearn.attacks.lm.base import Attempt, FactAttack, answered, asked, copied, is_packed
from genunlearn.contracts import STRICT, Beside, Splits
from genunlearn.data.lm.facts import Scope
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.ops.rounding import nf4, rounded

Form = Literal["nf4", "8 bits"]
ROUND: dict[str, Callable[[Tensor], Tensor]] = {"nf4": nf4, "8 bits": lambda weight: rounded(weight, 8)}


@dataclass(config=STRICT, frozen=True, kw_only=True)
class QuantisedReload(FactAttack):
    """Questions to the model with every linear layer at few bits."""

    name: ClassVar[str] = "quantised_reload"

    forms: Annotated[tuple[Form, ...], Field(min_length=1, description="nf4 and 8 bits, each of them tried")] = (
        "8 bits",
        "nf4",
    )

    @property
    @override
    def budget(self) -> str:
        return f"weights rounded to {' or '.join(self.forms)}; no data, no training"

    def lacking(self, model: LanguageModel, splits: Splits[Scope], beside: Beside[LanguageModel]) -> str | None:
        """Weights that are at few bits already have nothing left to lose."""
        return "the weights are quantised already" if is_packed(model) else None

    def attempt(self, model: LanguageModel, splits: Splits[Scope], beside: Beside[LanguageModel]) -> Attempt:
        """One level a form."""
        return Attempt(levels=tuple(answered(reloaded(model, form), asked(splits), form) for form in self.forms))


@torch.no_grad()
def reloaded(model: LanguageModel, form: Form) -> LanguageModel:
    """A copy of the model as it comes back from being stored in `form`."""
    twin = copied(model)
    head = twin.network.get_output_embeddings()
    for layer in twin.network.modules():
        if isinstance(layer, nn.Linear) and layer is not head:
            layer.weight.copy_(ROUND[form](layer.weight))
    return twin
