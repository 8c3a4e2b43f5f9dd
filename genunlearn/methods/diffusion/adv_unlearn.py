"""AdvUnlearn: erase the worst embedding near a concept instead of the concept alone.

    c' = argmin over | c' - c |_inf <= r of | eps_u(x_t, c') - eps_o(x_t, c) |^2
    L  = | eps_u(x_t, c') - ( eps_o(x_t, 0) - g (eps_o(x_t, c) - eps_o(x_t, 0)) ) |^2
       + w | eps_u(x_t, r) - eps_o(x_t, r) |^2

Source: Zhang et al., "Defensive Unlearning with Adversarial Training for Robust Concept Erasure in Diffusion
Models" (NeurIPS 2024), eq. 3-5, and its code.
Deviations: the attack moves the embedding that the text encoder gives, within a box, instead of the embedding
of a word put before the prompt, and the denoiser is trained instead of the text encoder; ``attack_steps = 1``
with ``rule = sign`` is the paper's fast variant; x_t comes from cached trajectories of the original model.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT, Batch, Term, Terms
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.training import held_points
from genunlearn.domains.diffusion.trajectories import Points
from genunlearn.methods.diffusion.base import OnTrajectories
from genunlearn.ops.denoising import erasing_target, squared_error
from genunlearn.ops.embeddings import EmbeddingAttack


@dataclass(config=STRICT, frozen=True, kw_only=True)
class AdvUnlearn(OnTrajectories):
    """ESD against an inner attack on the prompt embedding."""

    name: ClassVar[str] = "adv_unlearn"
    paper: ClassVar[str] = "Zhang et al., NeurIPS 2024"
    equation: ClassVar[str] = "|eps_u(x_t, c') - (eps_o(x_t, 0) - g (eps_o(x_t, c) - eps_o(x_t, 0)))|^2"

    strength: Annotated[float, Field(ge=0, description="g, how far guidance is turned away")] = 1.0
    attack_steps: Annotated[int, Field(ge=0, description="steps of the inner attack; 0 is ESD")] = 30
    attack_rate: Annotated[float, Field(gt=0, description="step size of the inner attack")] = 1e-3
    attack_radius: Annotated[float, Field(gt=0, description="r, largest change of a coordinate")] = 0.1
    rule: Annotated[Literal["adam", "sign"], Field(description="how the attack steps")] = "sign"

    def loss(self, batch: Batch, model: Diffusion, reference: Any) -> Terms:
        """``forget`` at the adversarial embedding; ``preserve`` where there are preserved concepts."""
        terms = dict(held_points(batch.retain, model, reference, self.preserve_weight))
        if (forget := batch.forget) is None:
            return terms
        points, prompt = Points.of(model, reference, forget), model.embedding(forget)

        def recovery(tokens: Any) -> Any:
            output = model.predict(points.noisy, points.timesteps, prompt.with_tokens(tokens))
            return squared_error(output, points.conditional)

        attack = EmbeddingAttack(
            steps=self.attack_steps, learning_rate=self.attack_rate, rule=self.rule, radius=self.attack_radius
        )
        worst = prompt.with_tokens(attack.run(prompt.tokens, recovery))
        target = erasing_target(points.unconditional, points.conditional, points.unconditional, self.strength)
        output = model.predict(points.noisy, points.timesteps, worst)
        return {"forget": Term.of(squared_error(output, target), forget, "forget"), **terms}
