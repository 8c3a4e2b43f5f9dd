"""SDD: let the model answer a concept as it answers the empty prompt, by itself.

    L = | stopgrad eps_u(x_t, 0) - eps_u(x_t, c) |^2

Source: Kim et al., "Towards Safe Self-Distillation of Internet-Scale Text-to-Image Diffusion Models" (ICML
2023 workshop), eq. 6, and its code.
Deviations: x_t comes from cached trajectories of the original model, the limit of the paper's moving average
of the weights (0.999 a step) for few steps, and the trained weights themselves are the result instead of the
average; several concepts are drawn in turn instead of being joined into one prompt; preserved concepts are
held.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT, Batch, Term, Terms
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.training import held_points, own_prediction
from genunlearn.domains.diffusion.trajectories import Points
from genunlearn.methods.diffusion.base import OnTrajectories
from genunlearn.ops.denoising import squared_error


@dataclass(config=STRICT, frozen=True, kw_only=True)
class SDD(OnTrajectories):
    """Self-distillation of the empty prompt into the concept."""

    name: ClassVar[str] = "sdd"
    paper: ClassVar[str] = "Kim et al., ICML 2023 workshop"
    equation: ClassVar[str] = "|stopgrad eps_u(x_t, 0) - eps_u(x_t, c)|^2"

    teacher: Annotated[
        Literal["self", "original"],
        Field(description="whose answer to the empty prompt is the target; the original's costs no evaluation"),
    ] = "self"

    def loss(self, batch: Batch, model: Diffusion, reference: Any) -> Terms:
        """``forget``: distance from the answer to the empty prompt; ``preserve`` as in `ESD`."""
        terms = dict(held_points(batch.retain, model, reference, self.preserve_weight))
        if (forget := batch.forget) is None:
            return terms
        points = Points.of(model, reference, forget)
        target = points.unconditional
        if self.teacher == "self":
            empty = model.unconditional(len(forget))
            target = own_prediction(model, points.noisy, points.timesteps, empty)
        output = model.predict(points.noisy, points.timesteps, model.embedding(forget))
        return {"forget": Term.of(squared_error(output, target), forget, "forget"), **terms}
