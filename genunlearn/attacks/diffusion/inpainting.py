"""Inpainting: the middle of an image of the concept is hidden, and the model fills it in.

The surroundings are held at the noise level of every step, so that what is filled in has to go with them. A model that
still draws the concept completes it; what an oracle makes of the same surroundings is the control.

Source: Lu et al., "When Are Concepts Erased From Diffusion Models?" (arXiv 2505.17013), where half the side is hidden.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor
from typing_extensions import override

from genunlearn.attacks.diffusion.base import ConceptContext, Drawn, DrawnAttack
from genunlearn.contracts import STRICT
from genunlearn.domains.diffusion.walk import Walk


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Inpainting(DrawnAttack):
    """The model fills in the hidden middle of an image of the concept."""

    name: ClassVar[str] = "inpainting"
    learns: ClassVar[bool] = True

    hidden: Annotated[float, Field(gt=0, le=1, description="share of each side that is hidden, in the middle")] = 0.5

    @property
    @override
    def budget(self) -> str:
        return f"an image of the concept a seed, {self.hidden:.0%} of each side hidden"

    def draw(self, model: Any, context: ConceptContext) -> Drawn:
        """Images whose middle the model has made."""
        pictures, _ = context.concept_images(len(context.seeds))
        known = model.encode_images(pictures).to(model.device, model.dtype)
        mask = self._mask(known.shape[-2:]).to(known)
        draws = [torch.Generator().manual_seed(seed + 1) for seed in context.seeds]
        noise = torch.cat([torch.randn((1, *known.shape[1:]), generator=each) for each in draws]).to(known)

        def hold(latents: Tensor, timestep: Tensor | None, rows: slice) -> Tensor:
            around = known[rows]
            if timestep is not None:
                around = model.schedule.add_noise(around, noise[rows], timestep.expand(len(around)))
            return mask * latents + (1 - mask) * around

        walk = Walk(sampling=context.sampling, hold=hold)
        latents = walk.run(model, context.prompts, context.seeds)
        return Drawn.judged(model.decode(latents, context.sampling.batch_size), context.detector, hidden=self.hidden)

    def _mask(self, shape: tuple[int, ...]) -> Tensor:
        """1 in the middle, ``(1, 1, height, width)``."""
        mask = torch.zeros(1, 1, *shape)
        edges = [round(side * (1 - self.hidden) / 2) for side in shape]
        mask[..., edges[0] : shape[0] - edges[0], edges[1] : shape[1] - edges[1]] = 1
        return mask
