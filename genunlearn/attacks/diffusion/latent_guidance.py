"""Latent-classifier guidance: the sampler is pulled towards what a classifier of noisy latents takes for the concept.

    noise <- noise - sqrt(1 - abar_t) s grad log p(concept | x_t)

The classifier is trained on noised images of the concept and of other things. Strong pulls make images that fool the
classifier and nobody else: the detector, and the same pulls on an oracle, tell.

Source: Lu et al., "When Are Concepts Erased From Diffusion Models?" (arXiv 2505.17013), with s from 25 to 193.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from typing_extensions import override

from genunlearn.attacks.diffusion.base import ConceptContext, Drawn, DrawnAttack
from genunlearn.contracts import STRICT
from genunlearn.domains.diffusion.walk import Walk


class LatentClassifier(nn.Module):
    """Tells latents of the concept from others at any noise level: three convolutions, told the level."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels + 1, width, 3, padding=1), nn.SiLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1), nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.SiLU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(8 * width, 1),
        )  # fmt: skip

    def forward(self, noisy: Tensor, level: Tensor) -> Tensor:
        """Logits ``(n,)`` of latents ``(n, channels, height, width)`` at noise levels ``(n,)``."""
        plane = level.view(-1, 1, 1, 1).to(noisy).expand(-1, 1, *noisy.shape[-2:])
        return self.body(torch.cat([noisy, plane], 1)).squeeze(1)


@dataclass(config=STRICT, frozen=True, kw_only=True)
class LatentGuidance(DrawnAttack):
    """The sampler, pulled by a classifier of noisy latents: a grid of strengths."""

    name: ClassVar[str] = "latent_guidance"
    learns: ClassVar[bool] = True

    scales: Annotated[
        tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1, description="s, each of them tried")
    ] = tuple(float(s) for s in range(25, 194, 24))
    images: Annotated[int, Field(ge=2, description="images of the concept, and as many others")] = 48
    steps: Annotated[int, Field(ge=1, description="training steps of the classifier")] = 200
    width: Annotated[int, Field(ge=4, description="channels of the classifier")] = 32
    learning_rate: Annotated[float, Field(gt=0, description="of AdamW")] = 2e-3
    seed: Annotated[int, Field(ge=0, description="of the classifier")] = 0

    @property
    @override
    def budget(self) -> str:
        return f"the sampler, {self.images} images of the concept and as many others; {len(self.scales)} images a seed"

    def draw(self, model: Any, context: ConceptContext) -> Drawn:
        """The strongest over scales, all of which go through the denoiser together."""
        classifier = self.train(model, context)
        n = len(context.seeds)
        scales = torch.tensor(self.scales).repeat_interleave(n).to(model.device)

        def correct(noisy: Tensor, timesteps: Tensor, noise: Tensor, rows: slice) -> Tensor:
            level = model.schedule.levels(timesteps)[1]
            with torch.enable_grad():
                moving = noisy.detach().float().requires_grad_(True)
                (pull,) = torch.autograd.grad(F.logsigmoid(classifier(moving, level)).sum(), [moving])
            strength = (level * scales[rows]).view(-1, 1, 1, 1)
            return noise - (strength * pull).to(noise)

        walk = Walk(sampling=context.sampling, correct=correct)
        latents = walk.run(model, list(context.prompts) * len(self.scales), list(context.seeds) * len(self.scales))
        variants = (model.decode(part, context.sampling.batch_size) for part in latents.split(n))
        return Drawn.strongest(variants, context.detector, scales=list(self.scales))

    def train(self, model: Any, context: ConceptContext) -> LatentClassifier:
        """Train the classifier on noised latents of both kinds of images."""
        own, others = context.concept_images(self.images)[0], context.unrelated_images(self.images)[0]
        latents = model.encode_images(torch.cat([own, others])).to(model.device)
        labels = torch.cat([torch.ones(len(own)), torch.zeros(len(others))]).to(model.device)
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(self.seed)
            classifier = LatentClassifier(latents.shape[1], self.width).to(model.device)
            optimizer = torch.optim.AdamW(classifier.parameters(), lr=self.learning_rate)
            for step in range(self.steps):
                noised = model.noised(latents, [f"{step}/{row}" for row in range(len(latents))])
                level = model.schedule.levels(noised.timesteps)[1]
                loss = F.binary_cross_entropy_with_logits(classifier(noised.latents, level), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return classifier.eval().requires_grad_(False)
