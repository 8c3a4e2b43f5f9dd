"""A DDIM trajectory that can be pushed: more noise than the sampler's own, corrected predictions, parts held in place.

    x_prev = sqrt(a_prev) x_0 + sqrt(1 - a_prev - s^2) noise + s k z
    s = eta sqrt((1 - a_prev) / (1 - a)) sqrt(1 - a / a_prev)

with a, a_prev cumulative alphas, z fresh noise and k its scale. Every image may have an eta and a k of its own, so
that a whole grid of them is one batch. With eta 0 and nothing else it is `Diffusion.sample` with a DDIM scheduler.
Where eta above 1 asks for more noise than a step has, the direction term is 0.

Source: Song et al., "Denoising Diffusion Implicit Models" (ICLR 2021), eq. 12 and 16.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from genunlearn.domains.diffusion.sampling import Pass, Sampling, make_scheduler
from genunlearn.errors import NeedNotMet

Correct = Callable[[Tensor, Tensor, Tensor, slice], Tensor]
"""From noisy latents, their timesteps ``(n,)``, the predicted noise and the rows of the images: another prediction."""

Hold = Callable[[Tensor, Tensor | None, slice], Tensor]
"""From latents after a step, the timestep that they are at now (None at the end) and the rows: other latents."""


@dataclass(frozen=True, kw_only=True)
class Walk:
    """How a trajectory is pushed.

    Attributes:
        sampling: Steps, guidance, rule and batch size; the scheduler is always a DDIM one.
        eta: Share of fresh noise, for all images or ``(images,)``.
        noise_scale: What the fresh noise is multiplied with, likewise.
        correct: Changes predictions of noise; the guidance between prompts is in them already.
        hold: Changes latents after each step.
    """

    sampling: Sampling
    eta: Tensor | float = 0.0
    noise_scale: Tensor | float = 1.0
    correct: Correct | None = None
    hold: Hold | None = None

    def run(self, model: Any, prompts: Sequence[str], seeds: Sequence[int]) -> Tensor:
        """Latents of images, ``(images, channels, height, width)``.

        Raises:
            NeedNotMet: The model is a flow, which has no DDIM sampler.
        """
        if model.schedule.alphas is None:
            raise NeedNotMet(f"{type(model.pipeline).__name__} is a flow: this attack needs a DDIM sampler")
        size, parts = self.sampling.batch_size, []
        for start in range(0, len(seeds), size):
            rows = slice(start, min(start + size, len(seeds)))
            parts.append(self._batch(model, list(prompts[rows]), list(seeds[rows]), rows))
        return torch.cat(parts)

    def _batch(self, model: Any, prompts: list[str], seeds: list[int], rows: slice) -> Tensor:
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        latents = self._noise(model, generators)
        ddim = Sampling(steps=self.sampling.steps, scheduler="ddim")
        scheduler = make_scheduler(model.family, ddim, model.latent_shape[-1], model.device)
        rule, memory = self.sampling.rule or model.rule, {}  # type: ignore[var-annotated]
        scale = self.sampling.guidance
        plan = Pass(
            scheduler=scheduler, rule=rule, scale=scale, embedded_scale=1.0, generators=generators, part=slice(None)
        )
        embedding = plan.conditions(model, prompts)
        timesteps = scheduler.timesteps
        cumulative = scheduler.alphas_cumprod.to(model.device)
        for step, t in enumerate(timesteps):
            with torch.no_grad():
                many = latents.repeat(len(embedding) // len(latents), 1, 1, 1)
                outputs = model.predict(many, t.expand(len(many)), embedding).view(-1, *latents.shape)
                output = rule.combine(outputs, scale, step, memory)
                at = t.expand(len(latents))
                noise = model.schedule.to_noise(output, latents, at)
            if self.correct is not None:
                noise = self.correct(latents, at, noise, rows)
            clean = model.schedule.to_clean(model.schedule.from_noise(noise, latents, at), latents, at)
            before = t - scheduler.config.num_train_timesteps // self.sampling.steps
            level = cumulative[before] if before >= 0 else scheduler.final_alpha_cumprod.to(model.device)
            latents = self._step(clean, noise, (cumulative[t], level), generators, rows).to(latents.dtype)
            if self.hold is not None:
                following = timesteps[step + 1] if step + 1 < len(timesteps) else None
                latents = self.hold(latents, following, rows)
        return latents

    def _step(
        self,
        clean: Tensor,
        noise: Tensor,
        levels: tuple[Tensor, Tensor],
        generators: list[torch.Generator],
        rows: slice,
    ) -> Tensor:
        now, before = levels
        eta, scale = (_rows(value, rows).to(clean) for value in (self.eta, self.noise_scale))
        spread = eta * ((1 - before) / (1 - now)).sqrt() * (1 - now / before).clamp_min(0).sqrt()
        direction = (1 - before - spread**2).clamp_min(0).sqrt()
        stepped = before.sqrt() * clean + direction * noise
        if not eta.any():
            return stepped
        fresh = torch.cat([torch.randn((1, *clean.shape[1:]), generator=each) for each in generators])
        return stepped + spread * scale * fresh.to(clean)

    def _noise(self, model: Any, generators: list[torch.Generator]) -> Tensor:
        shape = (1, *model.latent_shape)
        drawn = [torch.randn(shape, generator=each, dtype=model.dtype) for each in generators]
        return torch.cat(drawn).to(model.device)


def _rows(value: Tensor | float, rows: slice) -> Tensor:
    """One value an image, ``(batch, 1, 1, 1)``, or one for all."""
    return value[rows].view(-1, 1, 1, 1) if isinstance(value, Tensor) else torch.tensor(value)
