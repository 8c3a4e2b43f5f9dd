"""SLD: safe latent guidance, against the concepts while an image is made.

    mu  = clamp( s |eps(p) - eps(c)|, max 1 ) where eps(p) - eps(c) < lam, else 0
    g_t = mu (eps(c) - eps(0)) + m nu_t,   nu_{t+1} = beta nu_t + (1 - beta) g_t
    eps = eps(0) + scale ( (eps(p) - eps(0)) - g_t )          from step `warmup` on; before it without g_t

p is the image's prompt, c the concepts joined by commas. Three evaluations a step.

Source: Schramowski et al., "Safe Latent Diffusion: Mitigating Inappropriate Degeneration in Diffusion Models"
(CVPR 2023), eq. 5-8, and its code; the default is its "medium".
Deviations: none. No weight changes: a patch holds the rule alone, and whoever leaves it out gets the concept.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT, Edit, EditReport, Splits
from genunlearn.data.diffusion.concepts import concept_names
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.guidance import SafeGuidance


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
