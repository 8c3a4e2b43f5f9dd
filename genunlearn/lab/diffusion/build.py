"""``lab:diffusion``: a small real text-to-image pipeline that draws ten digits in six styles, built on first use.

A latent diffusion model of Stable Diffusion's classes with its own tokenizer, trained from a seed in about four
minutes on two cores and stored in the hub's format, so that plain ``StableDiffusionPipeline.from_pretrained`` opens
it. Beside it lies the judge that tells what an image shows. Built *without* some concepts it is an oracle for them:
its denoiser and text encoder never saw them. Autoencoder and judge are the original's, so that latents and verdicts
of the two compare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from genunlearn.engine.progress import Watch
from genunlearn.errors import DataError
from genunlearn.lab.cache import build_once, recipe_key
from genunlearn.lab.diffusion.digit_prompts import Concept, concept_of, remaining
from genunlearn.lab.diffusion.recipe import Recipe

KIND = "diffusion"
VERSION = 1
"""Raise it when this code, from the same recipe, gives another model."""

PRESETS: Mapping[str, Recipe] = {"default": Recipe()}


def build(
    without: Sequence[str] = (),
    *,
    seed: int = 0,
    progress: bool = True,
    force: bool = False,
    recipe: Recipe = PRESETS["default"],
) -> Path:
    """The folder of the lab's text-to-image pipeline; trains it if the cache does not have it.

    Args:
        without: Concepts that it never sees, such as ``digit seven`` or ``style red``; makes an oracle, for which the
            original of the same seed is built as well.
        seed: Seed of weights, examples and order; the held-out digits are the same for every seed.
        progress: Show a progress bar on stderr.
        force: Train even if the cache has it.
        recipe: Sizes and training.

    Raises:
        NameNotFound: A name in `without` is no concept of the lab.
        DataError: Nothing is left without them.
        QualityError: The trained pipeline misses a level of `diffusion_exam.LEVELS`; nothing is stored.
        InputError: The cache folder cannot be written.
    """
    left_out = tuple(sorted({concept_of(name) for name in without}))
    if not remaining(left_out):
        names = ", ".join(concept.label for concept in left_out)
        raise DataError(f"without = {names} leaves nothing to learn: leave out less")
    watch = Watch(is_shown=progress)
    original = build(seed=seed, progress=progress, recipe=recipe) if left_out else None

    def on_wait(folder: Path) -> None:
        watch.announce(f"another process is building {folder.name}; waiting for it")

    def make(folder: Path) -> dict[str, Any]:
        from genunlearn.lab.diffusion.assembly import Builder
        from genunlearn.lab.diffusion.card import readme

        names = [concept.label for concept in left_out]
        card = {"kind": KIND, "version": VERSION, "recipe": asdict(recipe), "seed": seed, "without": names}
        card |= Builder(folder, recipe, left_out, watch).make(seed, original)
        (folder / "README.md").write_text(readme(card), encoding="utf-8")
        return card

    return build_once(KIND, build_key(recipe, seed, left_out), make, force=force, on_wait=on_wait)


def build_key(recipe: Recipe, seed: int, left_out: Sequence[Concept]) -> str:
    """The key under which a pipeline is cached: parameters and version of the code."""
    names = sorted(concept.label for concept in left_out)
    return recipe_key({**asdict(recipe), "seed": seed, "without": names}, version=VERSION)
