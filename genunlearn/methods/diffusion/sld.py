"""SLD: safe latent guidance, against the concepts while an image is made.

    mu  = clamp( s |eps(p) - eps(c)|, max 1 ) where eps(p) - eps(c) < lam, else 0
    g_t = mu (eps(c) - eps(0)) + m nu_t,   nu_{t+1} = beta nu_t + (1 - beta) g_t
    eps = eps(0) + scale ( (eps(p) - eps(0)) - g_t )          from step `warmup` on; before it without g_t

p is the image's prompt, c the concepts joined by commas. Three evaluations a step.

Source: Schramowski et al., "Safe Latent Diffusion: Mitigating Inappropriate Degeneration in Diffusion Models"
(CVPR 2023), eq. 5-8, and its code; the default is its "medium".
Deviations: none. No weight changes, so there is nothing to export, and whoever leaves the rule out gets the
concept.
"""

from __future__ import annotations

from dataclasses import dataclass as plain_dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import STRICT, Edit, EditReport, Splits
from genunlearn.data.diffusion.concepts import concept_names
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.sampling import GuidanceRule


@plain_dataclass(frozen=True, kw_only=True)
class SafeGuidance(GuidanceRule):
    """Guidance towards the prompt less guidance towards the concepts.

    Attributes:
        concepts: The prompt that is guided away from.
        strength: s.
        threshold: lam.
        momentum: m.
        momentum_decay: beta.
        warmup: Steps without safety guidance.
    """

    concepts: str
    strength: float
    threshold: float
    momentum: float
    momentum_decay: float
    warmup: int

    def others(self, scale: float) -> tuple[str | None, ...]:
        """The empty prompt and the concepts."""
        return (None, self.concepts)

    def combine(self, outputs: Tensor, scale: float, step: int, memory: dict[str, Tensor]) -> Tensor:
        """Safe latent guidance; `memory` carries nu."""
        prompt, empty, concept = outputs
        difference = prompt - concept
        weight = (self.strength * difference).abs().clamp(max=1)
        weight = torch.where(difference >= self.threshold, torch.zeros_like(weight), weight)
        velocity = memory.get("velocity", torch.zeros_like(prompt))
        safety = weight * (concept - empty) + self.momentum * velocity
        memory["velocity"] = self.momentum_decay * velocity + (1 - self.momentum_decay) * safety
        guidance = prompt - empty - (safety if step >= self.warmup else 0)
        return empty + scale * guidance


@dataclass(config=STRICT, frozen=True, kw_only=True)
class SLD(Edit[Diffusion]):
    """Safe latent guidance as the rule by which images are made."""

    name: ClassVar[str] = "sld"
    domains: ClassVar[frozenset[str]] = frozenset({"diffusion"})
    paper: ClassVar[str] = "Schramowski et al., CVPR 2023"
    equation: ClassVar[str] = "eps(0) + scale ((eps(p) - eps(0)) - g_t)"

    strength: Annotated[float, Field(ge=0, description="s; 0 guides by momentum alone, which then stays 0")] = 1000.0
    threshold: Annotated[float, Field(ge=0, description="lam, difference from which on nothing is steered")] = 0.01
    momentum: Annotated[float, Field(ge=0, description="m, weight of the momentum")] = 0.3
    momentum_decay: Annotated[float, Field(ge=0, le=1, description="beta, what the momentum keeps a step")] = 0.4
    warmup: Annotated[int, Field(ge=0, description="steps before safety guidance begins")] = 10

    def apply(self, model: Diffusion, splits: Splits) -> EditReport:
        """Set the rule by which the model makes images."""
        concepts = ", ".join(concept_names(splits.forget))
        model.rule = SafeGuidance(
            concepts=concepts,
            strength=self.strength,
            threshold=self.threshold,
            momentum=self.momentum,
            momentum_decay=self.momentum_decay,
            warmup=self.warmup,
        )
        return EditReport(changed=(), details={"rule": "sld", "concepts": concepts})
