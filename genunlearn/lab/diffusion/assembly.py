"""Building the lab's text-to-image pipeline: train, store, measure."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline

from genunlearn.domains.pretrained import read_model, read_pipeline
from genunlearn.engine.progress import Watch
from genunlearn.lab.determinism import surroundings
from genunlearn.lab.diffusion import parts as parts
from genunlearn.lab.diffusion.digit_images import draw, load_digits
from genunlearn.lab.diffusion.digit_prompts import STYLES, Concept, remaining
from genunlearn.lab.diffusion.evaluation import FRAME, LEVELS, SAMPLES_NAME, ZOOM, LabEvaluation, Measured
from genunlearn.lab.diffusion.image_judge import FOLDER as JUDGE
from genunlearn.lab.diffusion.image_judge import load_judge, train_judge
from genunlearn.lab.diffusion.recipe import Recipe
from genunlearn.lab.diffusion.training import (
    CaptionedDigits,
    PromptEncoder,
    encode_styles,
    train_autoencoder,
    train_denoiser,
    train_text_encoder,
)
from genunlearn.lab.levels import check_levels
from genunlearn.ops.images import grid, write_png

AUTOENCODER = "vae"
"""Where diffusers keeps it in a pipeline's folder."""


class Builder:
    """Builds one pipeline into an empty folder.

    Attributes:
        seconds: How long each phase took.
    """

    def __init__(self, folder: Path, recipe: Recipe, without: Sequence[Concept], watch: Watch) -> None:
        self.folder, self.recipe, self.without, self.watch = folder, recipe, without, watch
        self.train_digits, self.held_out_digits = load_digits()
        self.seconds: dict[str, float] = {}

    def make(self, seed: int, original: Path | None = None) -> dict[str, Any]:
        """Train, store and measure.

        Args:
            seed: Seed of weights, examples and order.
            original: Folder of the pipeline that lends its autoencoder and its judge, which are trained otherwise.

        Returns:
            What goes onto the card: what was measured, parameters by part, seconds by phase.

        Raises:
            QualityError: A level is missed.
        """
        cpu = time.process_time()
        with surroundings(seed):
            if original:
                for part in (AUTOENCODER, JUDGE):
                    shutil.copytree(original / part, self.folder / part)
            else:
                self.train_shared_parts()
            parameters = self.train_pipeline(seed)
            measured = self.measure()
        check_levels(measured, LEVELS, f"lab:diffusion with seed = {seed}")
        used = round(time.process_time() - cpu, 1)
        return {"measured": measured, "parameters": parameters, "seconds": self.seconds, "cpu_seconds": used}

    def train_shared_parts(self) -> None:
        """Train and store the judge and the autoencoder, which oracles share with the original."""
        recipe = self.recipe
        with self.phase("judge", recipe.judge.schedule.steps) as report:
            train_judge(self.train_digits, recipe.judge, report).save(self.folder / JUDGE)
        vae = parts.build_autoencoder(recipe.shape)
        with self.phase("autoencoder", recipe.autoencoder.steps) as report:
            train_autoencoder(vae, self.train_digits, recipe.autoencoder, recipe.kl_weight, report)
        vae.save_pretrained(self.folder / AUTOENCODER)

    def train_pipeline(self, seed: int) -> dict[str, int]:
        """Train text encoder and denoiser, and store the whole pipeline; returns the parameters of each part."""
        shape = self.recipe.shape
        vae = read_model(AutoencoderKL, self.folder / AUTOENCODER, "an autoencoder")
        tokenizer, scheduler = parts.build_tokenizer(shape.max_tokens), parts.build_scheduler()
        text_encoder, unet = parts.build_text_encoder(shape, tokenizer), parts.build_unet(shape)
        captioned = CaptionedDigits(self.train_digits, remaining(self.without), seed)
        prompts = PromptEncoder(tokenizer, text_encoder)
        with self.phase("text encoder", self.recipe.text_encoder.steps) as report:
            train_text_encoder(prompts, captioned, self._features(), self.recipe.text_encoder, report)
        latents = encode_styles(vae, self.train_digits) * vae.config.scaling_factor
        with self.phase("denoiser", self.recipe.denoiser.steps) as report:
            train_denoiser(unet, scheduler, prompts, captioned, latents, self.recipe.denoiser, report)
        parts.assemble(vae, text_encoder, tokenizer, unet, scheduler).save_pretrained(self.folder)
        return {
            name: sum(parameter.numel() for parameter in module.parameters())
            for name, module in (("unet", unet), ("text_encoder", text_encoder), (AUTOENCODER, vae))
        }

    def measure(self) -> Measured:
        """Take the exam on what has been stored, and store the sample grid."""
        pipeline = read_pipeline(StableDiffusionPipeline, self.folder)
        pipeline.set_progress_bar_config(disable=True)
        exam = LabEvaluation(load_judge(self.folder), self.held_out_digits, self.without)
        with self.phase("measuring", exam.num_images) as report:
            measured, samples = exam.measure(pipeline, lambda count: report(count=count))
        columns = len({style for _, style in remaining(self.without)})
        write_png(grid(samples, columns, frame=FRAME), self.folder / SAMPLES_NAME, zoom=ZOOM)
        return measured

    @contextmanager
    def phase(self, name: str, total: int) -> Iterator[Callable[..., None]]:
        """A phase of the build with its progress bar; yields ``report(loss=None, count=1)``, which moves it."""
        start = time.monotonic()
        with self.watch.bar(f"lab:diffusion, {name}", total) as advance:

            def report(loss: float | None = None, count: int = 1) -> None:
                advance(count, "" if loss is None else f"loss {loss:.3f}")

            yield report
        self.seconds[name] = round(time.monotonic() - start, 1)

    def _features(self) -> torch.Tensor:
        """The judge's features of every training digit in every style, ``(styles, digits, d)``."""
        judge = load_judge(self.folder)
        return torch.stack([judge.features(draw(self.train_digits.ink, style)) for style in STYLES])
