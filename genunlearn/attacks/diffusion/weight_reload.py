"""Handling of weights that undoes an erasure by accident or on purpose: quantised, without a LoRA, without a rule.

Erasure that moves weights by less than a quantisation step is rounded away; erasure that lies beside the weights, or
that works while images are made, is gone with its file. None takes data, gradients or skill.

Source for quantisation: Zhang et al., "Catastrophic Failure of LLM Unlearning via Quantization" (ICLR 2025), on
language models; here each row of each matrix is rounded to evenly spaced levels.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from typing_extensions import override

from genunlearn.attacks.diffusion.base import ConceptContext, Drawn, DrawnAttack, copied
from genunlearn.contracts import STRICT
from genunlearn.domains.diffusion.guidance import ClassifierFree
from genunlearn.errors import NeedNotMet
from genunlearn.ops.rounding import rounded


@dataclass(config=STRICT, frozen=True, kw_only=True)
class QuantisedReload(DrawnAttack):
    """The denoiser with every matrix and kernel at few bits."""

    name: ClassVar[str] = "quantised_reload"

    bits: Annotated[
        tuple[Annotated[int, Field(ge=2, le=16)], ...], Field(min_length=1, description="bits, each of them tried")
    ] = (8, 4)

    @property
    @override
    def budget(self) -> str:
        return f"weights rounded to {' or '.join(map(str, self.bits))} bits"

    def draw(self, model: Any, context: ConceptContext) -> Drawn:
        """The strongest over numbers of bits."""
        images = []
        for bits in self.bits:
            twin = copied(model)
            with torch.no_grad():
                for weight in twin.module.parameters():
                    if weight.dim() > 1:
                        weight.copy_(rounded(weight, bits))
            images.append(twin.images(context.prompts, context.seeds, context.sampling))
        return Drawn.strongest(images, context.detector, bits=list(self.bits))


@dataclass(config=STRICT, frozen=True, kw_only=True)
class LoraRemoval(DrawnAttack):
    """The model without the LoRA that is attached to it."""

    name: ClassVar[str] = "lora_removal"

    @property
    @override
    def budget(self) -> str:
        return "the base weights beside the LoRA"

    def missing(self, model: Any, context: ConceptContext) -> str | None:
        """There is nothing to leave out where the change is part of the weights."""
        return None if hasattr(model.network, "unload") else "no LoRA is attached: the change is part of the weights"

    def draw(self, model: Any, context: ConceptContext) -> Drawn:
        """What the base draws.

        Raises:
            NeedNotMet: No LoRA is attached.
        """
        if reason := self.missing(model, context):
            raise NeedNotMet(reason)
        bare = copied(model)
        bare.module = bare.network.unload()
        return Drawn.judged(bare.images(context.prompts, context.seeds, context.sampling), context.detector)


@dataclass(config=STRICT, frozen=True, kw_only=True)
class RuleRemoval(DrawnAttack):
    """The model without the rule that blocks the concept while images are made: a negative prompt, SLD."""

    name: ClassVar[str] = "rule_removal"

    @property
    def budget(self) -> str:
        """What the attacker has and may do, in words."""
        return "the weights, without the rule by which images are made"

    def missing(self, model: Any, context: ConceptContext) -> str | None:
        """There is nothing to switch off where weights alone decide; controls, which have no rule, draw as ever."""
        audited = context.audited or model
        return "no rule is in force while images are made" if audited.rule == ClassifierFree() else None

    def draw(self, model: Any, context: ConceptContext) -> Drawn:
        """What the weights draw."""
        with model.without_rule():
            images = model.images(context.prompts, context.seeds, context.sampling)
        return Drawn.judged(images, context.detector)
