"""Receler: erase a concept against adversarial prompts, and only where it is in the image.

    c' = the prompt with adversarial tokens that minimise | eps_u(x_t, c') - eps_o(x_t, c) |^2
    L  = | eps_u(x_t, c') - ( eps_o(x_t, 0) - g (eps_o(x_t, c) - eps_o(x_t, 0)) ) |^2
       + w mean( (1 - M) (eps_u(x_t, c') - eps_o(x_t, c))^2 )

M marks where the original model's cross-attention to the concept's tokens exceeds a share of its largest
value.

Source: Huang et al., "Receler: Reliable Concept Erasing of Text-to-Image Diffusion Models via Lightweight
Erasers" (ECCV 2024), eq. 3-8, and its code.
Deviations: a LoRA or selected weights are trained in place of non-linear adapters, so that the result is
exported like any other; what is held outside the mask is therefore the prediction, not the adapters' output;
adversarial tokens take the place of the prompt's last ones (its padding); x_t comes from cached trajectories
of the original model.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import STRICT, Batch, Examples, Term, Terms
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.attention import cross_attention_layers
from genunlearn.domains.diffusion.prompts import PromptEmbedding
from genunlearn.domains.diffusion.training import held_points
from genunlearn.domains.diffusion.trajectories import Points
from genunlearn.methods.diffusion.base import OnTrajectories
from genunlearn.ops.denoising import erasing_target, squared_error
from genunlearn.ops.embeddings import EmbeddingAttack


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Receler(OnTrajectories):
    """Adversarial erasing, held outside the concept's place."""

    name: ClassVar[str] = "receler"
    paper: ClassVar[str] = "Huang et al., ECCV 2024"
    equation: ClassVar[str] = "ESD(g) at c' + w mean((1 - M) (eps_u(x_t, c') - eps_o(x_t, c))^2)"

    strength: Annotated[float, Field(ge=0, description="g, how far guidance is turned away")] = 1.0
    attack_steps: Annotated[int, Field(ge=0, description="Adam steps of the inner attack; 0 is none")] = 50
    attack_rate: Annotated[float, Field(gt=0, description="learning rate of the inner attack")] = 0.1
    attack_decay: Annotated[float, Field(ge=0, description="weight decay of the inner attack")] = 0.1
    attack_tokens: Annotated[int, Field(ge=1, description="adversarial tokens at the end of the prompt")] = 16
    local_weight: Annotated[float, Field(ge=0, description="w, weight of what is held outside the mask")] = 0.1
    mask_threshold: Annotated[float, Field(ge=0, le=1, description="share of the largest attention inside M")] = 0.1

    def loss(self, batch: Batch, model: Diffusion, reference: Any) -> Terms:
        """``forget`` and ``local`` at the adversarial prompt; ``preserve`` as in `ESD`.

        Raises:
            NeedNotMet: The pipeline has no cross-attention.
        """
        cross_attention_layers(model)
        terms = dict(held_points(batch.retain, model, reference, self.preserve_weight))
        if (forget := batch.forget) is None:
            return terms
        points = Points.of(model, reference, forget)
        worst = self._attacked(model, points, model.embedding(forget))
        target = erasing_target(points.unconditional, points.conditional, points.unconditional, self.strength)
        output = model.predict(points.noisy, points.timesteps, worst)
        terms["forget"] = Term.of(squared_error(output, target), forget, "forget")
        if self.local_weight:
            outside = self._outside(reference, forget, points).to(output.device).unsqueeze(1)
            change = (output.float() - points.conditional.float()) * outside
            local = squared_error(change, torch.zeros_like(change))
            terms["local"] = Term.of(local, forget, "forget", self.local_weight)
        return terms

    def _attacked(self, model: Diffusion, points: Points, prompt: PromptEmbedding) -> PromptEmbedding:
        """The prompt with its last tokens replaced by those that bring the concept back best."""
        count = min(self.attack_tokens, prompt.tokens.shape[1] - 2)
        kept, start = prompt.tokens[:, :-count], prompt.tokens[:, -count:]

        def recovery(tokens: Tensor) -> Tensor:
            given = prompt.with_tokens(torch.cat([kept, tokens], 1))
            output = model.predict(points.noisy, points.timesteps, given)
            return squared_error(output, points.conditional)

        attack = EmbeddingAttack(
            steps=self.attack_steps, learning_rate=self.attack_rate, weight_decay=self.attack_decay
        )
        return prompt.with_tokens(torch.cat([kept, attack.run(start, recovery)], 1))

    def _outside(self, reference: Any, forget: Examples, points: Points) -> Tensor:
        """1 where the original model does not look at the concept, ``(batch, height, width)``."""
        tensors = {**forget.tensors, "noisy": points.noisy, "timesteps": points.timesteps}
        picture = reference.ask("concept_map", Examples(forget.ids, forget.weight, tensors))
        return (picture <= self.mask_threshold).float()
