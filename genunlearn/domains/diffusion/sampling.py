"""Making latents: any scheduler, any way to combine predictions, from any step to any step.

Every image has a generator of its own, seeded by its seed, so that it does not depend on the others in its
batch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from genunlearn.contracts import Examples
from genunlearn.domains.diffusion.families import Family
from genunlearn.domains.diffusion.guidance import ClassifierFree, GuidanceRule
from genunlearn.domains.diffusion.prompts import PromptEmbedding
from genunlearn.errors import DataError, NeedNotMet

MEMORYLESS = ("DDIMScheduler", "DDPMScheduler")
"""Schedulers that can start at any step without being told."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How images are made.

    Attributes:
        steps: Denoising steps.
        guidance: Scale of guidance; 1 evaluates the prompt alone.
        eta: Share of fresh noise in each step, for schedulers of the DDIM kind.
        scheduler: ``own`` takes the pipeline's; ``ddim`` a DDIM one with the same noise levels, which has no
            memory and can therefore go on from another model's latents. Flows keep their own.
        rule: How predictions are combined; the model's rule if None. A denoiser that takes the scale as an
            input (FLUX dev) gets it so unless a rule is given, here or by the model, that evaluates other
            prompts.
        batch_size: Images at once.
    """

    steps: int = 50
    guidance: float = 7.5
    eta: float = 0.0
    scheduler: Literal["own", "ddim"] = "own"
    rule: GuidanceRule | None = None
    batch_size: int = 16

    def __post_init__(self) -> None:
        """Refuse what cannot be sampled."""
        if self.steps < 1 or self.batch_size < 1:
            raise DataError(f"steps = {self.steps}, batch_size = {self.batch_size}: both are at least 1")


Observe = Callable[[int, Tensor, Tensor, Tensor], None]
"""Called at each step: its number, the timestep, the denoiser's input, its outputs as a rule gets them."""


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One batch on its way through some steps of a scheduler.

    Attributes:
        scheduler: Fresh, with its timesteps set.
        rule: How predictions are combined.
        scale: Scale of guidance between prompts.
        embedded_scale: Scale that the denoiser takes as an input, where it does.
        generators: One for each image, for schedulers that add noise.
        part: Which steps are run.
        eta: See `Sampling`.
        observe: Called at each step.
    """

    scheduler: Any
    rule: GuidanceRule
    scale: float
    embedded_scale: float
    generators: list[torch.Generator]
    part: slice
    eta: float = 0.0
    observe: Observe | None = None

    def conditions(self, model: Any, prompts: Sequence[str]) -> PromptEmbedding:
        """The images' own prompts, then the rule's, one row for each image in each."""
        rows = [model.encode_prompts(prompts)]
        for other in self.rule.others(self.scale):
            empty = other is None
            rows.append(model.unconditional(len(prompts)) if empty else model.encode_prompts([other] * len(prompts)))
        return PromptEmbedding.cat(rows)

    @torch.no_grad()
    def run(self, model: Any, prompts: Sequence[str], latents: Tensor) -> Tensor:
        """Latents after the last of the steps.

        Args:
            model: The adapter.
            prompts: One for each image.
            latents: ``(batch, channels, height, width)``: unit noise if the first step is among the steps,
                else what the step before had returned.
        """
        steps = range(len(self.scheduler.timesteps))[self.part]
        if not steps:
            return latents
        if steps[0] == 0:
            latents = latents * getattr(self.scheduler, "init_noise_sigma", 1.0)
        _begin_at(self.scheduler, steps[0])
        options = self._step_options()
        embedding = self.conditions(model, prompts)
        memory: dict[str, Tensor] = {}
        for step in steps:
            t = self.scheduler.timesteps[step]
            noisy = self._scaled(latents, t).to(latents.dtype)
            many = noisy.repeat(len(embedding) // len(noisy), 1, 1, 1)
            outputs = model.predict(many, t.expand(len(many)), embedding, embedded_scale=self.embedded_scale)
            outputs = outputs.view(-1, *noisy.shape)
            if self.observe is not None:
                self.observe(step, t, noisy, outputs)
            output = self.rule.combine(outputs, self.scale, step, memory)
            stepped = self.scheduler.step(output, t, latents, **options, return_dict=False)[0]
            latents = stepped.to(latents.dtype)
        return latents

    def _scaled(self, latents: Tensor, timestep: Tensor) -> Tensor:
        scale = getattr(self.scheduler, "scale_model_input", None)
        return scale(latents, timestep) if scale else latents

    def _step_options(self) -> dict[str, Any]:
        known = inspect.signature(self.scheduler.step).parameters
        return {k: v for k, v in {"eta": self.eta, "generator": self.generators}.items() if k in known}


def make_scheduler(family: Family, sampling: Sampling, size: int, device: torch.device) -> Any:
    """A fresh scheduler with its timesteps set; the pipeline's own is left as it is.

    Raises:
        DataError: It cannot make so many steps.
    """
    own = family.pipeline.scheduler
    kind = type(own)
    if sampling.scheduler == "ddim" and hasattr(own, "alphas_cumprod"):
        from diffusers import DDIMScheduler

        kind = DDIMScheduler
    scheduler = kind.from_config(own.config)
    options = family.schedule_options(sampling.steps, size)
    count = {} if "sigmas" in options else {"num_inference_steps": sampling.steps}
    try:
        scheduler.set_timesteps(**count, device=device, **options)
    except (ValueError, IndexError, RuntimeError) as error:  # PNDM with Runge-Kutta needs four
        raise DataError(
            f"steps = {sampling.steps}: scheduler {kind.__name__} cannot make so few or so many; take another number"
        ) from error
    return scheduler


def make_latents(
    model: Any,
    prompts: Sequence[str],
    seeds: Sequence[int],
    sampling: Sampling,
    *,
    part: slice = slice(None),
    latents: Tensor | None = None,
    observe: Observe | None = None,
) -> Tensor:
    """Latents of images, batch by batch; see `Diffusion.sample`.

    Raises:
        DataError: Prompts, seeds and latents differ in number, or there are none.
        NeedNotMet: The scheduler cannot start in the middle.
    """
    counts = {len(prompts), len(seeds), len(seeds) if latents is None else len(latents)}
    if len(counts) > 1 or not seeds:
        raise DataError(f"{len(prompts)} prompts for {len(seeds)} seeds: every image has one of each")
    rule = sampling.rule or model.rule
    is_embedded = model.family.embeds_guidance and rule == ClassifierFree() and sampling.rule is None
    scales = (1.0, sampling.guidance) if is_embedded else (sampling.guidance, 1.0)
    first = part.indices(sampling.steps)[0]
    parts = []
    for start in range(0, len(seeds), sampling.batch_size):
        rows = slice(start, start + sampling.batch_size)
        noise, generators = _noise(seeds[rows], model.latent_shape, model.dtype, first)
        batch = Pass(
            scheduler=make_scheduler(model.family, sampling, model.latent_shape[-1], model.device),
            rule=rule,
            scale=scales[0],
            embedded_scale=scales[1],
            generators=generators,
            part=part,
            eta=sampling.eta,
            observe=observe,
        )
        given = noise if latents is None else latents[rows]
        parts.append(batch.run(model, prompts[rows], given.to(model.device, model.dtype)))
    return torch.cat(parts)


def make_examples(model: Any, examples: Examples) -> Tensor:
    """Latents of image examples, made from their prompts and seeds, in float32."""
    rows: dict[tuple[int, float], list[int]] = {}
    for row, how in enumerate(zip(examples["steps"].tolist(), examples["guidance"].tolist(), strict=True)):
        rows.setdefault(how, []).append(row)
    latents = torch.empty(len(examples), *model.latent_shape, device=model.device)
    for (steps, guidance), members in rows.items():
        texts = [model.prompts.texts[number] for number in examples["prompt"][members].tolist()]
        sampling = Sampling(steps=steps, guidance=guidance, batch_size=len(members))
        latents[members] = make_latents(model, texts, examples["seed"][members].tolist(), sampling).float()
    return latents


def _noise(
    seeds: Sequence[int], shape: tuple[int, ...], dtype: torch.dtype, steps: int = 0
) -> tuple[Tensor, list[torch.Generator]]:
    """Noise ``(seeds, *shape)`` as diffusers draws it from generators on the CPU, and the generators.

    The generators are as they stand after `steps` steps, so that a trajectory of a scheduler which adds noise is the
    same in one piece and in several.
    """
    generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
    noise = torch.cat([torch.randn((1, *shape), generator=g, dtype=dtype) for g in generators])
    for generator in generators:
        for _ in range(steps):
            torch.randn((1, *shape), generator=generator, dtype=dtype)
    return noise, generators


def _begin_at(scheduler: Any, step: int) -> None:
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(step)
    elif step and type(scheduler).__name__ not in MEMORYLESS:
        raise NeedNotMet(
            f"scheduler {type(scheduler).__name__} cannot start at step {step}: it needs the steps before; "
            "sample with scheduler = 'ddim'"
        )
