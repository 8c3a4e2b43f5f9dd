"""SPM: a small adapter that erases one concept and is told to do nothing for others.

    L = | eps_u(x_t, c) - ( eps_o(x_t, 0) - g (eps_o(x_t, c) - eps_o(x_t, 0)) ) |^2
      + w | eps_u(x_t, a) - eps_o(x_t, a) |^2

on latents of the concept, with anchors a from what is to stay: what the adapter does at the concept's latents
has to hang on the prompt.

Source: Lyu et al., "One-dimensional Adapter to Rule Them All" (CVPR 2024), eq. 5-8, and its code.
Deviations: x_t comes from cached trajectories of the original model; anchors are the request's preserved
prompts in turn, instead of draws by similarity from a vocabulary; the strength of the adapter is not scaled
by the prompt when images are made, so that the result is a plain LoRA (set parameters.kind = lora and rank 1
as published).
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT, Batch, Needs, Splits, Term, Terms, with_sides
from genunlearn.data.diffusion.concepts import anchored
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.training import frozen_prediction
from genunlearn.domains.diffusion.trajectories import Points
from genunlearn.errors import NeedNotMet
from genunlearn.methods.diffusion.base import OnTrajectories
from genunlearn.ops.denoising import erasing_target, squared_error


@dataclass(config=STRICT, frozen=True, kw_only=True)
class SPM(OnTrajectories):
    """ESD on an adapter, with anchors at the concept's own latents."""

    name: ClassVar[str] = "spm"
    needs: ClassVar[Needs] = Needs(retain=True, reference=True)
    paper: ClassVar[str] = "Lyu et al., CVPR 2024"
    equation: ClassVar[str] = "ESD(g) + w |eps_u(x_t, a) - eps_o(x_t, a)|^2"

    parameters: Annotated[str, Field(description="layers beside which adapters stand: x, u, full, ...")] = "full"
    strength: Annotated[float, Field(ge=0, description="g, how far guidance is turned away")] = 1.0
    preserve_weight: Annotated[float, Field(ge=0, description="w, weight of the anchors")] = 1000.0

    def prepare(self, splits: Splits, seed: int) -> Splits:
        """Training points on the concepts' trajectories: for erasing, and with an anchor each for holding."""
        if not splits.retain:
            raise NeedNotMet("method 'spm' needs anchors: give concepts to preserve")
        points = super().prepare(with_sides(splits, splits.forget, None), seed)
        return with_sides(points, points.forget, anchored(points.forget, splits.retain))

    def loss(self, batch: Batch, model: Diffusion, reference: Any) -> Terms:
        """``forget`` at the concept and ``preserve`` at anchors, both at the concept's latents."""
        terms: dict[str, Term] = {}
        if (forget := batch.forget) is not None:
            points = Points.of(model, reference, forget)
            empty, concept = points.unconditional, points.conditional
            target = erasing_target(empty, concept, empty, self.strength)
            output = model.predict(points.noisy, points.timesteps, model.embedding(forget))
            terms["forget"] = Term.of(squared_error(output, target), forget, "forget")
        if (retain := batch.retain) is not None and self.preserve_weight:
            points = Points.of(model, reference, retain)
            frozen = frozen_prediction(reference, retain, points.noisy, points.timesteps, "anchor")
            output = model.predict(points.noisy, points.timesteps, model.embedding(retain, "anchor"))
            errors = squared_error(output, frozen)
            terms["preserve"] = Term.of(errors, retain, "retain", self.preserve_weight)
        return terms
