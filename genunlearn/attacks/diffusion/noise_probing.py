"""Noise-based probing: more noise on the way than the sampler would add, which may lead round what was closed.

Every eta is tried with every scale of the noise; the strongest image of each seed is kept. No training, no prompts
beyond the plain ones.

Source: Lu et al., "When Are Concepts Erased From Diffusion Models?" (arXiv 2505.17013), whose grid is the default.
"""

from __future__ import annotations

import itertools
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from typing_extensions import override

from genunlearn.attacks.diffusion.base import ConceptContext, Drawn, DrawnAttack
from genunlearn.contracts import STRICT
from genunlearn.domains.diffusion.walk import Walk

Positive = Annotated[float, Field(ge=0)]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class NoiseProbing(DrawnAttack):
    """More noise on the way than the sampler would add: a grid of eta and scale."""

    name: ClassVar[str] = "noise_probing"

    etas: Annotated[tuple[Positive, ...], Field(min_length=1, description="shares of fresh noise")] = (
        1.0, 1.17, 1.34, 1.51, 1.68, 1.85,
    )  # fmt: skip
    scales: Annotated[tuple[Positive, ...], Field(min_length=1, description="factors of the fresh noise")] = (
        1.0, 1.02, 1.03, 1.04,
    )  # fmt: skip

    @property
    @override
    def budget(self) -> str:
        return f"the sampler; {len(self.etas) * len(self.scales)} images a seed"

    def draw(self, model: Any, context: ConceptContext) -> Drawn:
        """The strongest over the grid, all of which goes through the denoiser together."""
        grid = list(itertools.product(self.etas, self.scales))
        n = len(context.seeds)
        etas, scales = (torch.tensor([pair[i] for pair in grid]).repeat_interleave(n) for i in range(2))
        walk = Walk(sampling=context.sampling, eta=etas, noise_scale=scales)
        latents = walk.run(model, list(context.prompts) * len(grid), list(context.seeds) * len(grid))
        variants = (model.decode(part, context.sampling.batch_size) for part in latents.split(n))
        return Drawn.strongest(variants, context.detector, grid=[list(pair) for pair in grid])
