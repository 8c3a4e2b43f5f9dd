"""What the commands about pipelines do once their arguments are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genunlearn.cli.commands import console, finish, fresh_folder, run_beside, run_one
from genunlearn.errors import InputError


def erase(
    model: str,
    concepts: Sequence[str],
    preserve: Sequence[str],
    methods: Sequence[str],
    *,
    export: str,
    out: Path | None,
    resume: bool,
    overrides: Sequence[str],
    ledger: Path | None = None,
) -> None:
    """Run one method, or several beside each other with a comparison at the end."""
    from genunlearn.runs.api import erase_config

    names = [name.strip() for name in methods]
    shared = [override for override in overrides if not override.startswith("method.")]
    configs = {
        name: erase_config(
            model,
            concepts,
            preserve,
            method=name,
            export=export,
            overrides=overrides if name == names[0] else shared,
        )
        for name in names
    }
    run_beside(configs, out or fresh_folder("erase"), resume=resume, ledger=ledger)


def audit(
    original: str,
    unlearned: str,
    concepts: Sequence[str],
    retain: Sequence[str],
    *,
    oracle: str | None,
    suite: str,
    out: Path | None,
    resume: bool,
    overrides: Sequence[str],
) -> None:
    """Audit one pipeline."""
    from genunlearn.runs.api import audit_config

    config = audit_config(original, unlearned, concepts, retain, oracle=oracle, suite=suite, overrides=overrides)
    out = out or fresh_folder("audit")
    finish(run_one(config, out, resume), out)


def sample(
    model: str,
    prompts: Sequence[str],
    patches: Sequence[Path],
    grid: Path,
    *,
    images: int,
    steps: int,
    guidance: float,
    seed: int,
) -> None:
    """Draw a grid: prompts below each other, the original and each patched pipeline in turn, a seed a column."""
    from genunlearn.config import ModelConfig
    from genunlearn.config.diffusion import DiffusionConfig
    from genunlearn.domains.diffusion.sampling import Sampling
    from genunlearn.runs.diffusion.pipelines import open_pipeline

    if grid.suffix.lower() != ".png":
        raise InputError(f"--grid {grid}: give a file that ends in .png")
    config = DiffusionConfig(model=ModelConfig(source=model))
    sampling, rows = Sampling(steps=steps, guidance=guidance), []
    for patch in (None, *patches):
        pipeline = open_pipeline(config)
        if patch is not None:
            pipeline.load_patch(patch)
        texts = [prompt for prompt in prompts for _ in range(images)]
        drawn = pipeline.images(texts, [seed + number for number in range(images)] * len(prompts), sampling)
        rows.append(drawn.unflatten(0, (len(prompts), images)))
    write_grid([row for prompt in zip(*rows, strict=True) for row in prompt], grid)
    for prompt in prompts:
        for patch in (None, *patches):
            console.print(f"row: {prompt!r}, {'original' if patch is None else patch}", soft_wrap=True, markup=False)
    console.print(f"written: {grid}", soft_wrap=True)


SMALLEST = 64
"""Images below this side are enlarged, pixel for pixel, so that people can see them."""


def write_grid(rows: Sequence[Any], path: Path) -> None:
    """Write rows of images, each ``(n, 3, height, width)`` in [0, 1], as one PNG with a frame around each image."""
    import torch

    from genunlearn.ops.images import grid, write_png

    images = torch.stack(list(rows)).cpu()
    table = grid(images.flatten(0, 1), images.shape[1], frame=0.5)
    write_png(table, path, zoom=-(-SMALLEST // images.shape[-1]))
