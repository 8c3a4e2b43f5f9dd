"""What a denoiser predicts, and how its output, the noise, the clean image and the noisy image hang together.

With signal level ``alpha`` and noise level ``sigma`` of a timestep, ``x_t = alpha x_0 + sigma noise``.
Networks are trained to predict one of (`Kind`):

    epsilon        noise
    v_prediction   alpha noise - sigma x_0         (alpha^2 + sigma^2 = 1)
    sample         x_0
    flow           noise - x_0                     (alpha = 1 - sigma)

All of them are affine in each other at a given ``x_t``. A target that combines predictions with coefficients
that sum to one (classifier-free guidance, ESD) is therefore the same whichever kind the network has: losses
here compare the network's own outputs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from genunlearn.errors import MismatchError

Kind = Literal["epsilon", "v_prediction", "sample", "flow"]


@dataclass(frozen=True)
class Noised:
    """Clean latents with noise at timesteps.

    Attributes:
        latents: ``(batch, ...)``, the noisy latents.
        timesteps: ``(batch,)``.
        target: What the network should output, shaped like the latents.
    """

    latents: Tensor
    timesteps: Tensor
    target: Tensor


@dataclass(frozen=True)
class NoiseSchedule:
    """Signal and noise levels by timestep.

    Attributes:
        kind: What the network predicts.
        num_steps: Training timesteps; a timestep lies in [0, num_steps].
        alphas: ``(num_steps,)`` signal levels, the square roots of the cumulative alphas; None for flows,
            where the noise level is ``timestep / num_steps``.
        timesteps: ``(num_steps,)`` what training draws from; a flow's scheduler may shift them towards noise.
    """

    kind: Kind
    num_steps: int
    alphas: Tensor | None
    timesteps: Tensor

    @classmethod
    def of(cls, scheduler: Any) -> NoiseSchedule:
        """Read the schedule off a diffusers scheduler.

        Raises:
            MismatchError: The scheduler has neither cumulative alphas nor flow matching, or an unknown
                prediction.
        """
        config = scheduler.config
        num_steps = int(config.num_train_timesteps)
        kind = config.get("prediction_type", "epsilon")
        if type(scheduler).__name__.startswith("FlowMatch") or kind == "flow_prediction":
            shift = float(config.get("shift") or config.get("flow_shift") or 1.0)
            sigmas = torch.arange(1, num_steps + 1) / num_steps
            return cls("flow", num_steps, None, num_steps * shift * sigmas / (1 + (shift - 1) * sigmas))
        cumulative = getattr(scheduler, "alphas_cumprod", None)
        if kind not in get_args(Kind) or cumulative is None:
            raise MismatchError(
                f"scheduler {type(scheduler).__name__} with prediction_type = {kind!r} is not understood: "
                "it takes cumulative alphas with epsilon, v_prediction or sample, or flow matching"
            )
        return cls(kind, num_steps, torch.as_tensor(cumulative).float().sqrt(), torch.arange(num_steps))

    def levels(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Signal and noise level of each timestep, both ``(batch,)`` in float32.

        Timesteps between two trained ones (some samplers space them so) take the nearest.
        """
        if self.alphas is None:
            sigma = timesteps.float() / self.num_steps
            return 1 - sigma, sigma
        index = timesteps.round().long().clamp(0, self.num_steps - 1)
        alpha = self.alphas.to(timesteps.device)[index]
        return alpha, (1 - alpha**2).clamp_min(0).sqrt()

    def add_noise(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """``x_t`` of shape ``(batch, ...)``."""
        alpha, sigma = self._levels_for(clean, timesteps)
        return alpha * clean + sigma * noise

    def target(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the network should output for `clean` and `noise`, ``(batch, ...)``."""
        alpha, sigma = self._levels_for(clean, timesteps)
        if self.kind == "epsilon":
            return noise
        if self.kind == "sample":
            return clean
        return noise - clean if self.kind == "flow" else alpha * noise - sigma * clean

    def noised(self, clean: Tensor, ids: Sequence[str]) -> Noised:
        """Clean latents with noise at timesteps.

        Both are drawn for each example by a generator of its own, seeded by torch's seed and the example's
        id: they depend neither on the other examples of the batch nor on how a step is cut into batches and
        processes. Seed torch anew for another draw, as the training loop does at every step.

        Args:
            clean: ``(batch, ...)``.
            ids: Identifier of each example.
        """
        generators = [_generator_of(name) for name in ids]
        count = len(self.timesteps)
        index = torch.stack([torch.randint(count, (), generator=generator) for generator in generators])
        noise = torch.stack([torch.randn(clean.shape[1:], generator=generator) for generator in generators])
        timesteps, noise = self.timesteps[index].to(clean.device), noise.to(clean)
        return Noised(self.add_noise(clean, noise, timesteps), timesteps, self.target(clean, noise, timesteps))

    def to_noise(self, output: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """The noise that a network output stands for."""
        alpha, sigma = self._levels_for(noisy, timesteps)
        if self.kind == "epsilon":
            return output
        if self.kind == "sample":
            return (noisy - alpha * output) / sigma
        return noisy + alpha * output if self.kind == "flow" else sigma * noisy + alpha * output

    def to_clean(self, output: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """The clean image that a network output stands for."""
        alpha, sigma = self._levels_for(noisy, timesteps)
        if self.kind == "epsilon":
            return (noisy - sigma * output) / alpha
        if self.kind == "sample":
            return output
        return noisy - sigma * output if self.kind == "flow" else alpha * noisy - sigma * output

    def from_noise(self, noise: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """The network output that stands for `noise`; the inverse of `to_noise`."""
        alpha, sigma = self._levels_for(noisy, timesteps)
        if self.kind == "epsilon":
            return noise
        if self.kind == "sample":
            return (noisy - sigma * noise) / alpha
        return (noise - noisy) / alpha if self.kind == "flow" else (noise - sigma * noisy) / alpha

    def _levels_for(self, images: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        shape = (-1, *[1] * (images.dim() - 1))
        alpha, sigma = self.levels(timesteps)
        return alpha.view(shape).to(images.dtype), sigma.view(shape).to(images.dtype)


def _generator_of(name: str) -> torch.Generator:
    digest = hashlib.sha256(f"{torch.initial_seed()}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8]) >> 1)


def guide(conditional: Tensor, unconditional: Tensor, scale: float | Tensor) -> Tensor:
    """Classifier-free guidance: ``unconditional + scale (conditional - unconditional)``."""
    return unconditional + scale * (conditional - unconditional)


def erasing_target(source: Tensor, conditional: Tensor, unconditional: Tensor, strength: float) -> Tensor:
    """Guidance turned away from a concept: ``source - strength (conditional - unconditional)``.

    With `strength` 0 it is `source`. Source: Gandikota et al., "Erasing Concepts from Diffusion Models" (ICCV
    2023), where `source` is the unconditional prediction; the authors' later code takes the conditional one.
    """
    return source - strength * (conditional - unconditional)


def squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of each example, ``(batch,)``, in float32."""
    return (prediction.float() - target.float()).square().flatten(1).mean(1)
