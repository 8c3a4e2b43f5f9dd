"""Concept Ablation: where the model reads a concept, teach it to see the anchor whose image it is shown.

    model-based   L = | eps_u(x_t, c) - stopgrad eps_u(x_t, c*) |^2 + w | eps_u(x_t, c*) - noise |^2
    noise-based   L = | eps_u(x_t, c) - noise |^2                   + w | eps_u(x_t, c*) - noise |^2

x_t is a noised image of the anchor c*, made by the original model or given.

Source: Kumari et al., "Ablating Concepts in Text-to-Image Diffusion Models" (ICCV 2023), eq. 4-6, and its
code.
Deviations: images are made once; ``teacher = original`` takes the frozen model's answer instead of the
present one's; without an anchor the empty prompt stands for it; preserved concepts are held where a request
names them.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import STRICT, Batch, Examples, Splits, Term, Terms, with_sides
from genunlearn.data.diffusion.concepts import ConceptImage, refuse_empty, swapped
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.training import (
    frozen_prediction,
    held_images,
    noised_images,
    own_prediction,
)
from genunlearn.methods.diffusion.base import OnImages
from genunlearn.ops.denoising import Noised, squared_error


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ConceptAblation(OnImages):
    """The anchor's answer in the concept's place."""

    name: ClassVar[str] = "concept_ablation"
    paper: ClassVar[str] = "Kumari et al., ICCV 2023"
    equation: ClassVar[str] = "|eps_u(x_t, c) - stopgrad eps_u(x_t, c*)|^2"

    parameters: Annotated[str, Field(description="trained weights: x, u, full, strict, or a regex")] = "strict"
    target: Annotated[
        Literal["model", "noise"], Field(description="match the answer to the anchor, or the true noise")
    ] = "model"
    teacher: Annotated[Literal["self", "original"], Field(description="whose answer to the anchor is the target")] = (
        "self"
    )
    prior_weight: Annotated[float, Field(ge=0, description="w, weight of the training loss of the anchor")] = 0.0

    def prepare(self, splits: Splits, seed: int) -> Splits:
        """Images of the anchors; each carries the concept's prompt as what it is to be read as."""
        refuse_empty(splits.forget)
        given = any(isinstance(item, ConceptImage) for item in splits.forget)
        forget = splits.forget if given else swapped(splits.forget)
        return super().prepare(with_sides(splits, forget, splits.retain), seed)

    def loss(self, batch: Batch, model: Diffusion, reference: Any) -> Terms:
        """``forget``, ``prior`` where it has a weight, ``preserve`` where there are preserved concepts."""
        terms = dict(held_images(batch.retain, model, reference, self.preserve_weight))
        if (forget := batch.forget) is None:
            return terms
        noised = noised_images(forget, model, reference)
        target = self._target(forget, noised, model, reference)
        output = model.predict(noised.latents, noised.timesteps, model.embedding(forget, "anchor"))
        terms["forget"] = Term.of(squared_error(output, target), forget, "forget")
        if self.prior_weight:
            output = model.predict(noised.latents, noised.timesteps, model.embedding(forget))
            prior = squared_error(output, noised.target)
            terms["prior"] = Term.of(prior, forget, "forget", self.prior_weight)
        return terms

    def _target(self, forget: Examples, noised: Noised, model: Diffusion, reference: Any) -> Tensor:
        if self.target == "noise":
            return noised.target
        if self.teacher == "original":
            return frozen_prediction(reference, forget, noised.latents, noised.timesteps)
        return own_prediction(model, noised.latents, noised.timesteps, model.embedding(forget))
