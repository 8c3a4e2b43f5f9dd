"""ESD: teach the model to predict, for a concept, what guidance away from the concept would predict.

    L = | eps_u(x_t, s) - ( eps_o(x_t, s) - g (eps_o(x_t, c) - eps_o(x_t, 0)) ) |^2

c is the concept's prompt, 0 the empty prompt and the source s one of: c itself (the authors' present code), 0
on the right side with c on the left (the paper), or another prompt, the anchor, that an attribute is erased
from. With g = 0 and s = c the target is the original prediction. Variants are sets of trained weights: ``x``
cross-attention, ``u`` everything else, ``full`` both, ``strict`` keys and values of cross-attention.

Source: Gandikota et al., "Erasing Concepts from Diffusion Models" (ICCV 2023), eq. 6-7, and its code of 2025.
Deviations: x_t comes from cached trajectories of the original model, which hold both of its predictions,
instead of a fresh partial trajectory a step; preserved concepts, which the paper does not have, are held
where a request names them; the loss is a mean over each example.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT, Batch, Term, Terms
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.training import frozen_prediction, held_points
from genunlearn.domains.diffusion.trajectories import Points
from genunlearn.methods.diffusion.base import OnTrajectories
from genunlearn.ops.denoising import erasing_target, squared_error

Source = Literal["prompt", "empty", "anchor"]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ESD(OnTrajectories):
    """Negative guidance, distilled into the weights."""

    name: ClassVar[str] = "esd"
    paper: ClassVar[str] = "Gandikota et al., ICCV 2023"
    equation: ClassVar[str] = "|eps_u(x_t, s) - (eps_o(x_t, s) - g (eps_o(x_t, c) - eps_o(x_t, 0)))|^2"

    strength: Annotated[float, Field(ge=0, description="g, how far guidance is turned away; 0 erases nothing")] = 2.0
    source: Annotated[Source, Field(description="s: the prompt, the empty prompt, or the anchor")] = "prompt"

    def loss(self, batch: Batch, model: Diffusion, reference: Any) -> Terms:
        """``forget``: distance from the erasing target; ``preserve`` where there are preserved concepts."""
        terms = dict(held_points(batch.retain, model, reference, self.preserve_weight))
        if (forget := batch.forget) is None:
            return terms
        points = Points.of(model, reference, forget)
        given, source = model.embedding(forget), points.conditional
        if self.source == "empty":
            source = points.unconditional
        elif self.source == "anchor":
            given = model.embedding(forget, "anchor")
            source = frozen_prediction(reference, forget, points.noisy, points.timesteps, "anchor")
        target = erasing_target(source, points.conditional, points.unconditional, self.strength)
        output = model.predict(points.noisy, points.timesteps, given)
        return {"forget": Term.of(squared_error(output, target), forget, "forget"), **terms}
