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
from genunlearn.data.concept_training import OnTrajectories
from genunlearn.domains.diffusion_training import frozen_prediction
from genunlearn.domains.trajectories import Points
from genunlearn.errors import NeedNotMet
from genunlearn.ops.denoising import erasing_target, squared_error


@dataclass(config=STRICT, frozen=True, kw_only=True)
class SPM(OnTrajectories):
    """ESD on an adapter, with anchors at the concept's own latents."""

    name: ClassVar[str] = "spm"
    needs: ClassVar[Needs] = Needs(retain=True, reference=True)
    reference_scores: ClassVar[tuple[tuple[str, str], ...]] = (("forget", "trajectory_point"),)
    paper: ClassVar[str] = "Lyu et al., CVPR 2024"
    equation: ClassVar[str] = "ESD(g) + w |eps_u(x_t, a) - eps_o(x_t, a)|^2"

    parameters: Annotated[str, Field(description="layers beside which adapters stand: x, u, full, ...")] = (
        "full"
    )
    strength: Annotated[float, Field(ge=0, description="g, how far guidance is turned away")] = 1.0
    preserve_weight: Annotated[float, Field(ge=0, description="w, weight of the anchors")] = 1000.0

    def prepare(self, splits: Splits, seed: int) -> Splits:
        """Training points of the concepts; anchors remain prompts."""
        if not splits.retain:
            raise NeedNotMet("method 'spm' needs anchors: give concepts to preserve")
        points = super().prepare(with_sides(splits, splits.forget, None), seed)
        return with_sides(points, points.forget, splits.retain)

    def loss(self, batch: Batch, model: Any, reference: Any) -> Terms:
        """``forget`` and ``preserve``; anchor i is read at the latents of forget example i."""
        if batch.forget is None:
            return {}
        points = Points.of(model, reference, batch.forget)
        target = erasing_target(points.unconditional, points.conditional, points.unconditional, self.strength)
        output = model.predict(points.noisy, points.timesteps, model.embedding(batch.forget))
        terms = {"forget": Term.of(squared_error(output, target), batch.forget, "forget")}
        if (anchors := batch.retain) is None or not self.preserve_weight:
            return terms
        rows = [i % len(batch.forget) for i in range(len(anchors))]
        noisy, timesteps = points.noisy[rows], points.timesteps[rows]
        frozen = frozen_prediction(reference, anchors, noisy, timesteps)
        errors = squared_error(model.predict(noisy, timesteps, model.embedding(anchors)), frozen)
        return {**terms, "preserve": Term.of(errors, anchors, "retain", self.preserve_weight)}
