"""Guided trajectories as training points.

One guided trajectory of a frozen model evaluates the prompt and the empty prompt at every step anyway.
Kept, it gives as many training points (x_t, eps(c), eps(0)) as it has steps: no partial trajectory and no
teacher pass a training step. Trajectories that are asked for together run as one batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from genunlearn.contracts import Examples
from genunlearn.domains.diffusion.guidance import ClassifierFree
from genunlearn.domains.diffusion.identity import Fingerprint
from genunlearn.domains.diffusion.sampling import Sampling, make_latents, make_scheduler

Key = tuple[str, int, int, int, float]
"""Fingerprint of the weights, number of the prompt, seed, steps, guidance."""


@dataclass(frozen=True)
class Points:
    """A batch of training points, as losses use them.

    Attributes:
        noisy: ``(batch, channels, height, width)``, the denoiser's input.
        timesteps: ``(batch,)``.
        conditional: The frozen model's output for the prompt, shaped like `noisy`.
        unconditional: Its output for the empty prompt.
    """

    noisy: Tensor
    timesteps: Tensor
    conditional: Tensor
    unconditional: Tensor

    @classmethod
    def of(cls, model: Any, reference: Any, examples: Examples) -> Points:
        """Look the points of `examples` up in the reference."""
        noisy, conditional, unconditional = reference.ask("trajectory_point", examples).unbind(1)
        return cls(noisy, model.trajectory_timesteps(examples), conditional, unconditional)


@dataclass(frozen=True)
class _BothPredictions(ClassifierFree):
    """Evaluates the empty prompt even where guidance does not need it."""

    def others(self, scale: float) -> tuple[str | None, ...]:
        return (None,)


@dataclass
class Trajectories:
    """Trajectories of one pipeline, by weights, prompt, seed and settings.

    Attributes:
        dtype: How points are kept; bfloat16 halves memory and disk.
        batch_size: Trajectories run at once.
    """

    dtype: torch.dtype = torch.float32
    batch_size: int = 16
    _kept: dict[Key, Tensor] = field(default_factory=dict)
    _timesteps: dict[int, Tensor] = field(default_factory=dict)

    def points(self, model: Any, examples: Examples) -> Tensor:
        """Points ``(batch, 3, channels, height, width)``; see `Diffusion.trajectory_point`."""
        keys = self._keys(model, examples)
        missing = list(dict.fromkeys(key for key in keys if key not in self._kept))
        for steps, guidance in dict.fromkeys(key[3:] for key in missing):
            self._record(model, [key for key in missing if key[3:] == (steps, guidance)])
        rows = [self._kept[key][step] for key, step in zip(keys, examples["step"].tolist(), strict=True)]
        return torch.stack(rows).to(model.device)

    def timesteps(self, model: Any, examples: Examples) -> Tensor:
        """Timestep of each point, ``(batch,)``."""
        pairs = zip(examples["steps"].tolist(), examples["step"].tolist(), strict=True)
        return torch.stack([self._table(model, steps)[step] for steps, step in pairs])

    def forget(self) -> None:
        """Drop every trajectory from memory."""
        self._kept.clear()

    def _keys(self, model: Any, examples: Examples) -> list[Key]:
        stamp = Fingerprint.of(model.network).sha256
        columns = (examples[name].tolist() for name in ("prompt", "seed", "steps", "guidance"))
        return [(stamp, *row) for row in zip(*columns, strict=True)]

    def _record(self, model: Any, keys: list[Key]) -> None:
        """Run trajectories that share steps and guidance, and keep every step."""
        steps, guidance = keys[0][3:]
        sampling = self._sampling(steps, guidance)
        for start in range(0, len(keys), self.batch_size):
            chunk = keys[start : start + self.batch_size]
            self._kept |= zip(chunk, self._run(model, chunk, sampling), strict=True)

    def _run(self, model: Any, keys: list[Key], sampling: Sampling) -> Tensor:
        """Every step of one batch of trajectories, ``(trajectories, steps, 3, channels, height, width)``."""
        seen: list[Tensor] = []

        def observe(step: int, timestep: Tensor, noisy: Tensor, outputs: Tensor) -> None:
            seen.append(torch.stack([noisy, outputs[0], outputs[1]], 1).to("cpu", self.dtype))

        texts = [model.prompts.texts[key[1]] for key in keys]
        make_latents(model, texts, [key[2] for key in keys], sampling, observe=observe)
        return torch.stack(seen, 1)

    def _sampling(self, steps: int, guidance: float) -> Sampling:
        rule = _BothPredictions()
        return Sampling(steps=steps, guidance=guidance, scheduler="ddim", rule=rule, batch_size=self.batch_size)

    def _table(self, model: Any, steps: int) -> Tensor:
        if steps not in self._timesteps:
            size = model.latent_shape[-1]
            scheduler = make_scheduler(model.family, self._sampling(steps, 1.0), size, model.device)
            self._timesteps[steps] = scheduler.timesteps
        return self._timesteps[steps]
