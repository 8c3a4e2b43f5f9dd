"""The model without the LoRA that unlearned it: what lies beside the weights is gone with its file."""

from __future__ import annotations

from typing import ClassVar

from pydantic.dataclasses import dataclass
from typing_extensions import override

from genunlearn.attacks.lm.base import Attempt, FactAttack, answered, asked, has_lora, twin_of
from genunlearn.contracts import STRICT, Beside, Splits
from genunlearn.data.lm.facts import Scope
from genunlearn.domains.lm.adapter import LanguageModel


@dataclass(config=STRICT, frozen=True, kw_only=True)
class LoraRemoval(FactAttack):
    """Questions to the base."""

    name: ClassVar[str] = "lora_removal"
    decides: ClassVar[bool] = False
    wants_lora: ClassVar[bool] = True

    @property
    @override
    def budget(self) -> str:
        return "the base weights beside the LoRA"

    def lacking(self, model: LanguageModel, splits: Splits[Scope], beside: Beside[LanguageModel]) -> str | None:
        """There is nothing to leave out where the change is part of the weights."""
        return None if has_lora(model) else "no LoRA is attached: the change is part of the weights"

    def attempt(self, model: LanguageModel, splits: Splits[Scope], beside: Beside[LanguageModel]) -> Attempt:
        """One level."""
        bare = twin_of(model)
        bare.module = bare.network.unload()
        return Attempt(levels=(answered(bare, asked(splits)),))
