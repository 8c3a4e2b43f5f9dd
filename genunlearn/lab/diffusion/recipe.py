"""Everything that decides the lab's text-to-image pipeline besides the seed and the concepts that are left out."""

from __future__ import annotations

from dataclasses import dataclass

IMAGE_SIZE = 16
"""Height and width of an image."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How weights are moved: AdamW under linear warm-up and a cosine to zero.

    Attributes:
        steps: Optimiser steps.
        batch_size: Images a step.
        rate: Peak learning rate.
        warmup: Share of the steps before the peak.
        max_norm: Gradients are clipped to this norm.
    """

    steps: int
    batch_size: int
    rate: float
    warmup: float = 0.05
    max_norm: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of the pipeline's networks.

    Attributes:
        max_tokens: Length of a padded prompt, start and end token included.
        text_width: Width of the text encoder and of what cross-attention reads.
        text_layers: Blocks of the text encoder.
        vae_channels: Channels of the autoencoder's levels; each level but the last halves the image.
        latent_channels: Channels of a latent.
        unet_channels: Channels of the denoiser's two levels; the lower one has cross-attention.
        unet_layers: Residual blocks a level.
        num_heads: Attention heads of the denoiser.
    """

    max_tokens: int = 24
    text_width: int = 64
    text_layers: int = 2
    vae_channels: tuple[int, ...] = (16, 32)
    latent_channels: int = 4
    unet_channels: tuple[int, int] = (48, 96)
    unet_layers: int = 1
    num_heads: int = 4

    @property
    def latent_size(self) -> int:
        """Height and width of a latent."""
        return IMAGE_SIZE // 2 ** (len(self.vae_channels) - 1)


@dataclass(frozen=True, kw_only=True)
class JudgeRecipe:
    """Size and training of the judge.

    Attributes:
        width: Channels of the first convolutions; later ones have twice as many.
        num_features: Length of the feature vector, on which FID and KID are computed.
        noise: Standard deviation of the noise that is added to training images.
        schedule: How its weights are moved.
    """

    width: int = 24
    num_features: int = 64
    noise: float = 0.05
    schedule: Schedule = Schedule(steps=300, batch_size=128, rate=4e-3)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The pipeline and its judge.

    Attributes:
        shape: Sizes of the networks.
        judge: Size and training of the judge.
        autoencoder: How the autoencoder's weights are moved.
        kl_weight: Pull of the autoencoder's latents towards the standard normal distribution.
        text_encoder: How the text encoder's weights are moved.
        denoiser: How the denoiser's weights are moved.
    """

    shape: Shape = Shape()
    judge: JudgeRecipe = JudgeRecipe()
    autoencoder: Schedule = Schedule(steps=1000, batch_size=16, rate=2.5e-3)
    kl_weight: float = 1e-4
    text_encoder: Schedule = Schedule(steps=250, batch_size=128, rate=3e-3)
    denoiser: Schedule = Schedule(steps=1000, batch_size=64, rate=3e-3)
