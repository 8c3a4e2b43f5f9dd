"""Forget-Me-Not: turn the model's attention away from the words of a concept.

    L = | A |,   A = probabilities of cross-attention at the concept's tokens, over all layers, heads and
    pixels

on noised images of the concept.

Source: Zhang et al., "Forget-Me-Not: Learning to Forget in Text-to-Image Diffusion Models" (CVPR workshops
2024), eq. 3, and its code.
Deviations: only the columns of the concept's tokens are computed, see `genunlearn.ops.attention`; ``tokens =
all`` adds the tokens after the concept, which carry it too (a small text encoder spreads it); no textual
inversion of the concept beforehand; preserved concepts are held where a request names them.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT, Batch, Term, Terms
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.attention import concept_attention
from genunlearn.domains.diffusion.training import held_images, noised_images
from genunlearn.methods.diffusion.base import OnImages


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ForgetMeNot(OnImages):
    """Attention to a concept, minimised."""

    name: ClassVar[str] = "forget_me_not"
    paper: ClassVar[str] = "Zhang et al., CVPR workshops 2024"
    equation: ClassVar[str] = "|attention probabilities at the concept's tokens|"

    parameters: Annotated[str, Field(description="trained weights: x, u, full, strict, or a regex")] = "full"
    tokens: Annotated[
        Literal["own", "all"],
        Field(description="the concept's own tokens, or the later ones that carry it too"),
    ] = "own"

    def loss(self, batch: Batch, model: Diffusion, reference: Any) -> Terms:
        """``forget``: the norm of each example's probabilities; ``preserve`` as in `ConceptAblation`.

        Raises:
            NeedNotMet: The pipeline has no cross-attention.
        """
        terms = dict(held_images(batch.retain, model, reference, self.preserve_weight))
        if (forget := batch.forget) is None:
            return terms
        noised = noised_images(forget, model, reference)
        place = (noised.latents, noised.timesteps)
        layers = concept_attention(model, forget, *place, and_later=self.tokens == "all")
        norms = torch.cat([layer.float().flatten(1) for layer in layers], 1).norm(dim=1)
        return {"forget": Term.of(norms, forget, "forget"), **terms}
