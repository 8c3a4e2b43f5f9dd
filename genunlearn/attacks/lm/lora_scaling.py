"""The LoRA that unlearned the model at part of its strength: whoever holds the patch can turn it down.

    W = W_base + scale B A

Source: Zhang et al., "Composing Parameter-Efficient Modules with Arithmetic Operations" (NeurIPS 2023), scaling of an
adapter. Deviations: none.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from genunlearn.attacks.lm.base import Attempt, FactAttack, answered, asked, has_lora, twin_of
from genunlearn.contracts import STRICT, Beside, Splits
from genunlearn.data.lm.facts import Scope
from genunlearn.domains.lm.adapter import LanguageModel

Scale = Annotated[float, Field(ge=0, le=2)]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class LoraScaling(FactAttack):
    """Questions to the model with its LoRA turned down, one level a scale."""

    name: ClassVar[str] = "lora_scaling"
    decides: ClassVar[bool] = False
    wants_lora: ClassVar[bool] = True

    scales: Annotated[tuple[Scale, ...], Field(min_length=1, description="of the LoRA, each tried")] = (
        *(0.75, 0.5, 0.25, 0.1),
    )

    @property
    def budget(self) -> str:
        """What the attacker has and may do, in words."""
        return f"the LoRA beside the weights, at {', '.join(f'{scale:g}' for scale in self.scales)} of its strength"

    def lacking(self, model: LanguageModel, splits: Splits[Scope], beside: Beside[LanguageModel]) -> str | None:
        """There is nothing to turn down where the change is part of the weights."""
        return None if has_lora(model) else "no LoRA is attached: the change is part of the weights"

    def attempt(self, model: LanguageModel, splits: Splits[Scope], beside: Beside[LanguageModel]) -> Attempt:
        """One level a scale."""
        items = asked(splits)
        return Attempt(levels=tuple(answered(scaled(model, each), items, f"scale {each:g}") for each in self.scales))


def scaled(model: LanguageModel, scale: float) -> LanguageModel:
    """A copy of the model with every LoRA layer at `scale` of its strength."""
    from peft.tuners.lora import LoraLayer

    twin = twin_of(model)
    for layer in twin.module.modules():
        if isinstance(layer, LoraLayer):
            layer.scale_layer(scale)
    return twin
