"""What the lab's text-to-image pipeline must be able to do, measured through plain diffusers calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from genunlearn.evaluation.diffusion.image_distances import fid, kid
from genunlearn.evaluation.diffusion.metrics import ImageProbes
from genunlearn.lab.diffusion.digit_images import Digits, draw, every_style
from genunlearn.lab.diffusion.digit_prompts import (
    OBJECT,
    OBJECTS,
    STYLE,
    STYLES,
    Concept,
    Prompt,
    asked_of,
    prompt_grid,
    prompts_for,
    remaining,
)
from genunlearn.lab.diffusion.image_judge import Judge
from genunlearn.ops import intervals

GUIDANCE = 3.0
SAMPLING_STEPS = 20
PER_PROMPT = 5
"""Images of each prompt of the grid."""

BATCH = 60
ZOOM, FRAME = 4, 0.5
SAMPLES_NAME = "samples.png"

LEVELS = {"judge_object": 0.98, "judge_style": 0.98, "object": 0.95, "style": 0.95}
"""Least values of `LabEvaluation.measure`."""

Measured = dict[str, dict[str, float]]


@dataclass(frozen=True)
class LabEvaluation:
    """Measures a pipeline on the concepts that it has learnt.

    Attributes:
        judge: Tells what images show.
        digits: Held-out real digits.
        without: Concepts that the pipeline never saw.
        seed: Seed of the noise that images start from.
    """

    judge: Judge
    digits: Digits
    without: Sequence[Concept] = ()
    seed: int = 0

    @property
    def num_images(self) -> int:
        """How many images `measure` samples."""
        return len(self._grid()) * PER_PROMPT + len(self._grid(held_out=True)) + len(self._absent())

    def measure(self, pipeline: Any, report: Callable[[int], None]) -> tuple[Measured, Tensor]:
        """Sample images and judge them.

        Args:
            pipeline: A ``StableDiffusionPipeline``.
            report: Called with the number of images after every batch.

        Returns:
            By name, ``value``, ``low``, ``high`` and ``n``; and the first image of each prompt of the grid.
        """
        grid = self._grid()
        usual = self._probe(pipeline, grid * PER_PROMPT, report)
        held_out = self._probe(pipeline, self._grid(held_out=True), report)
        measured = {**self._measure_judge(), **self._reconstruct(pipeline.vae)}
        measured |= {kind: _share(usual.hits(kind)) for kind in (OBJECT, STYLE)}
        measured |= {f"{kind}_held_out": _share(held_out.hits(kind)) for kind in (OBJECT, STYLE)}
        real = real_features(self.judge, self.digits, self.without)
        for name, distance in (("fid", fid), ("kid", kid)):
            measured[name] = _estimate(distance(usual.features, real), len(usual.images))
        if absent := self._absent():
            probes = self._probe(pipeline, absent, report)
            shown = [hit for concept in self.without for hit in probes.hits(concept.kind, probes.rows_of(concept))]
            measured["ua"] = _share([not hit for hit in shown])
        return measured, usual.images[: len(grid)]

    def _grid(self, *, held_out: bool = False) -> list[Prompt]:
        kept = set(remaining(self.without))
        return [prompt for prompt in prompt_grid(held_out=held_out) if (prompt.object, prompt.style) in kept]

    def _absent(self) -> list[Prompt]:
        return list(dict.fromkeys(prompt for concept in self.without for prompt in prompts_for(concept)))

    def _probe(self, pipeline: Any, prompts: Sequence[Prompt], report: Callable[[int], None]) -> ImageProbes:
        images = []
        for start in range(0, len(prompts), BATCH):
            texts = [prompt.text for prompt in prompts[start : start + BATCH]]
            images.append(sample_images(pipeline, texts, seed=self.seed + start))
            report(len(texts))
        return ImageProbes(images=torch.cat(images), asked=asked_of(prompts), judge=self.judge, erased=self.without)

    def _measure_judge(self) -> Measured:
        images, objects, styles = every_style(self.digits)
        seen = zip(self.judge.classes, self.judge(images), (objects, styles), strict=True)
        return {f"judge_{kind}": _share((odds.argmax(-1) == true).tolist()) for kind, odds, true in seen}

    @torch.no_grad()
    def _reconstruct(self, vae: Any) -> Measured:
        """Whether real images survive the autoencoder."""
        images, objects, _ = every_style(self.digits)
        decoded = (vae.decode(vae.encode(2 * images - 1).latent_dist.mean).sample / 2 + 0.5).clamp(0, 1)
        is_right = self.judge(decoded)[0].argmax(-1) == objects
        error = (decoded - images).square().mean(dim=(1, 2, 3)).tolist()
        return {
            "decoded_object": _share(is_right.tolist()),
            "decoded_error": _estimate(intervals.mean(error), len(error)),
        }


def sample_images(pipeline: Any, prompts: Sequence[str], *, seed: int) -> Tensor:
    """One image a prompt at the lab's usual settings, ``(prompts, 3, 16, 16)`` in [0, 1]."""
    return pipeline(
        list(prompts),
        num_inference_steps=SAMPLING_STEPS,
        guidance_scale=GUIDANCE,
        generator=torch.Generator().manual_seed(seed),
        output_type="pt",
    ).images


def real_features(judge: Judge, digits: Digits, without: Sequence[Concept] = ()) -> Tensor:
    """Features of real digits in every style, without some concepts, ``(n, d)``: what FID and KID compare with."""
    gone = {(concept.kind, concept.name) for concept in without}
    styles = [style for style in STYLES if (STYLE, style) not in gone]
    rows = torch.tensor([(OBJECT, OBJECTS[label]) not in gone for label in digits.labels.tolist()])
    return torch.cat([judge.features(draw(digits.ink[rows], style)) for style in styles])


def _share(hits: Sequence[bool]) -> dict[str, float]:
    return _estimate(intervals.share(sum(hits), len(hits)), len(hits))


def _estimate(values: tuple[float, float, float], n: int) -> dict[str, float]:
    return {**dict(zip(("value", "low", "high"), values, strict=True)), "n": n}
