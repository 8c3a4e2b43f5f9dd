"""What losses on concepts are trained on, and the settings that all of them have.

Two kinds of data: points on guided trajectories of the original model (`OnTrajectories`), for which its
predictions are known beforehand, and noised images (`OnImages`), made by the original model or given.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT, Needs, Objective, Splits
from genunlearn.data.diffusion.concepts import with_images, with_trajectories
from genunlearn.domains.diffusion.adapter import Diffusion

SEEDS = 2**31
"""Seeds of training images lie below it, where every generator takes them."""

Parameters = Annotated[
    str, Field(description="trained weights: x (cross-attention), u (all others), full, strict, or a regex")
]
Weight = Annotated[float, Field(ge=0, description="weight of the loss that holds preserved concepts")]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class OnTrajectories(Objective[Diffusion]):
    """A loss on cached trajectories of the original model."""

    domains: ClassVar[frozenset[str]] = frozenset({"diffusion"})
    needs: ClassVar[Needs] = Needs(reference=True)
    reference_scores: ClassVar[tuple[tuple[str, str], ...]] = (
        ("forget", "trajectory_point"),
        ("retain", "trajectory_point"),
    )

    parameters: Parameters = "x"
    trajectories: Annotated[int, Field(ge=1, description="trajectories of each side; a prompt has at least one")] = 8
    steps: Annotated[int, Field(ge=1, description="steps of a trajectory, each of them a training point")] = 50
    guidance: Annotated[float, Field(ge=0, description="guidance scale of the trajectories")] = 3.0
    preserve_weight: Weight = 1.0

    def prepare(self, splits: Splits, seed: int) -> Splits:
        """Training points in place of prompts."""
        first = seed % SEEDS
        return with_trajectories(splits, self.trajectories, seed=first, steps=self.steps, guidance=self.guidance)


@dataclass(config=STRICT, frozen=True, kw_only=True)
class OnImages(Objective[Diffusion]):
    """A loss on noised images, given or made by the original model."""

    domains: ClassVar[frozenset[str]] = frozenset({"diffusion"})
    needs: ClassVar[Needs] = Needs(reference=True)
    reference_scores: ClassVar[tuple[tuple[str, str], ...]] = (
        ("forget", "clean_latents"),
        ("retain", "clean_latents"),
    )

    parameters: Parameters = "x"
    images: Annotated[int, Field(ge=1, description="images of each side; a prompt has at least one")] = 32
    image_steps: Annotated[int, Field(ge=1, description="denoising steps of a made image")] = 50
    image_guidance: Annotated[float, Field(ge=0, description="guidance scale of a made image")] = 7.5
    preserve_weight: Weight = 1.0

    def prepare(self, splits: Splits, seed: int) -> Splits:
        """Images in place of prompts."""
        first = seed % SEEDS
        return with_images(splits, self.images, seed=first, steps=self.image_steps, guidance=self.image_guidance)
