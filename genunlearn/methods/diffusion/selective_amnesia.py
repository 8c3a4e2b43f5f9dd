"""Selective Amnesia: train a concept on other images, held by replay and by the Fisher information.

    L = | eps_u(x_t, c) - noise |^2 + gamma | eps_u(x_r, r) - noise |^2 + lambda sum_i F_i (theta_i -
    theta_i*)^2

x_t are noised images of a surrogate, x_r noised images of what is to stay, F the diagonal Fisher information
of the training loss on the latter at the original weights theta*.

Source: Heng & Soh, "Selective Amnesia: A Continual Learning Approach to Forgetting in Deep Generative Models"
(NeurIPS 2023), eq. 8, and its code.
Deviations: the Fisher information comes from the request's preserved images at a few timesteps instead of
from a file; the surrogate is the anchor or, without one, images of uniform noise, as in the paper's
experiments on small images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass as plain_dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import (
    STRICT,
    Batch,
    Journal,
    Needs,
    Objective,
    Outcome,
    Protocol,
    Splits,
    Term,
    Terms,
    Train,
    with_sides,
)
from genunlearn.data.diffusion.concepts import ConceptImage, swapped, with_images
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.ops.denoising import squared_error


@plain_dataclass(frozen=True, kw_only=True)
class Anchored(Objective[Diffusion]):
    """The loss of Selective Amnesia around the original weights.

    Attributes:
        fisher: Diagonal Fisher information by parameter.
        originals: Original weights by parameter.
        replay_weight: gamma.
        penalty_weight: lambda.
    """

    name: ClassVar[str] = "anchored"
    domains: ClassVar[frozenset[str]] = frozenset({"diffusion"})

    fisher: Mapping[str, Tensor]
    originals: Mapping[str, Tensor]
    replay_weight: float
    penalty_weight: float

    def loss(self, batch: Batch, model: Diffusion, reference: Any) -> Terms:
        """``forget`` and ``penalty`` on the forget side, ``replay`` on the retain side."""
        terms: dict[str, Term] = {}
        if (forget := batch.forget) is not None:
            noised = model.noised(forget["latents"], forget.ids)
            output = model.predict(noised.latents, noised.timesteps, model.embedding(forget, "anchor"))
            terms["forget"] = Term.of(squared_error(output, noised.target), forget, "forget")
            # one penalty a step, however the step is cut: the loop divides by the number of examples
            penalty = self._penalty(model).expand(len(forget))
            terms["penalty"] = Term.of(penalty, forget, "forget", self.penalty_weight)
        if (retain := batch.retain) is not None:
            terms["replay"] = Term.of(model.example_loss(retain), retain, "retain", self.replay_weight)
        return terms

    def _penalty(self, model: Diffusion) -> Tensor:
        own = dict(model.network.named_parameters())
        parts = [
            (fisher * (own[name].float() - self.originals[name]).square()).sum() for name, fisher in self.fisher.items()
        ]
        return torch.stack(parts).sum()


@dataclass(config=STRICT, frozen=True, kw_only=True)
class SelectiveAmnesia(Protocol[Diffusion]):
    """Surrogate images for a concept, elastic weights and replay for the rest."""

    name: ClassVar[str] = "selective_amnesia"
    domains: ClassVar[frozenset[str]] = frozenset({"diffusion"})
    needs: ClassVar[Needs] = Needs(retain=True)
    paper: ClassVar[str] = "Heng & Soh, NeurIPS 2023"
    equation: ClassVar[str] = (
        "|eps_u(x_t, c) - noise|^2 + gamma |eps_u(x_r, r) - noise|^2 + lambda F (theta - theta*)^2"
    )

    parameters: Annotated[str, Field(description="trained weights: x, u, full, strict, or a regex")] = "full"
    penalty_weight: Annotated[float, Field(ge=0, description="lambda, weight of the elastic penalty")] = 50.0
    replay_weight: Annotated[float, Field(ge=0, description="gamma, weight of the replay loss")] = 1.0
    fisher_draws: Annotated[int, Field(ge=1, description="timesteps of each image in the Fisher information")] = 4
    images: Annotated[int, Field(ge=1, description="images of each side; a prompt has at least one")] = 32
    image_steps: Annotated[int, Field(ge=1, description="denoising steps of a made image")] = 50
    image_guidance: Annotated[float, Field(ge=0, description="guidance scale of a made image")] = 7.5
    seed: Annotated[int, Field(ge=0, description="seed of the images and of the Fisher information")] = 0

    def run(self, train: Train, model: Diffusion, splits: Splits, journal: Journal) -> Outcome:
        """Make images, take the Fisher information at the original weights, train."""
        made = with_images(
            with_sides(splits, swapped(splits.forget), splits.retain),
            self.images,
            seed=self.seed,
            steps=self.image_steps,
            guidance=self.image_guidance,
        )
        journal.announce(f"selective_amnesia: making {len(made.forget) + len(made.retain or ())} images")
        forget = [item if item.prompt else self._noise_image(model, item) for item in made.forget]
        made = with_sides(made, model.render(forget), model.render(made.retain or ()))
        trained = {name: p for name, p in model.network.named_parameters() if p.requires_grad}
        objective = Anchored(
            fisher=self._fisher(model, trained, made.retain or ()),
            originals={name: p.detach().float().clone() for name, p in trained.items()},
            replay_weight=self.replay_weight,
            penalty_weight=self.penalty_weight,
        )
        train(objective, made)
        return Outcome(status="trained", reason="all steps done under the elastic penalty")

    def _noise_image(self, model: Diffusion, item: ConceptImage) -> ConceptImage:
        """Uniform noise as the image of a concept that has no anchor."""
        side = model.latent_shape[-1] * model.pipeline.vae_scale_factor
        pixels = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(item.seed))
        return ConceptImage(**{**vars(item), "latents": model.encode_images(pixels)[0].cpu()})

    def _fisher(self, model: Diffusion, trained: Mapping[str, Tensor], items: Any) -> dict[str, Tensor]:
        """Mean squared gradient of the training loss of one image at one timestep."""
        sums = {name: torch.zeros_like(p, dtype=torch.float32) for name, p in trained.items()}
        with torch.random.fork_rng(devices=[]):
            for draw, item in [(draw, item) for draw in range(self.fisher_draws) for item in items]:
                torch.manual_seed(self.seed + draw)  # another timestep and noise at every draw
                loss = model.example_loss(model.collate([item])).sum()
                gradients = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
                for name, gradient in zip(trained, gradients, strict=True):
                    if gradient is not None:
                        sums[name] += gradient.float().square()
        return {name: total / (len(items) * self.fisher_draws) for name, total in sums.items()}
