"""What the commands about pipelines do once their arguments are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genunlearn.cli.commands import UNREGISTERED, Register, console, fresh_folder, run_beside
from genunlearn.errors import InputError, OutputExists, SourceNotFound
from genunlearn.records import check_writable


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
    register: Register = UNREGISTERED,
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
    run_beside(configs, out or fresh_folder("erase"), resume=resume, register=register)


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
    overwrite: bool = False,
    force: bool = False,
) -> None:
    """Draw a grid: prompts below each other, the original and each patched pipeline in turn, a seed a column.

    Args:
        model: The original: a folder, a hub id, a single-file checkpoint or ``lab:NAME``.
        prompts: One row, or as many rows as there are pipelines, each.
        patches: Patches, runs' folders that hold one, files of other tools, or whole pipelines.
        grid: PNG file to write.
        images: Images a row.
        steps: Denoising steps.
        guidance: Scale of guidance.
        seed: Seed of the first column; the next has the next one.
        overwrite: Write over a grid that is there.
        force: Take patches that were changed after they had been written.

    Raises:
        OutputExists: There is a grid already.
        InputError: A pipeline or a patch cannot be used.
    """
    from genunlearn.config.diffusion import DiffusionConfig, DiffusionModelConfig
    from genunlearn.domains.diffusion.sampling import Sampling
    from genunlearn.runs.diffusion.pipelines import open_pipeline

    if grid.suffix.lower() != ".png":
        raise InputError(f"--grid {grid}: give a file that ends in .png")
    check_writable(grid, "--grid")
    if grid.exists() and not overwrite:
        raise OutputExists(f"--grid {grid} exists: give another name, or --overwrite")
    config = DiffusionConfig(model=DiffusionModelConfig(source=model))
    places = [None, *(_patch_place(patch) for patch in patches)]
    names, seeds = ["original", *map(str, patches)], [seed + number for number in range(images)]
    sampling, columns = Sampling(steps=steps, guidance=guidance), []
    for place in places:
        is_whole = place is not None and _is_whole(place)
        pipeline = open_pipeline(config, str(place) if is_whole else None)
        if place is not None and not is_whole:
            pipeline.load_patch(place, force=force)
        texts = [prompt for prompt in prompts for _ in range(images)]
        drawn = pipeline.images(texts, seeds * len(prompts), sampling)
        columns.append(drawn.unflatten(0, (len(prompts), images)))
    rows = [row for prompt in zip(*columns, strict=True) for row in prompt]
    labels = [(prompt, name) for prompt in prompts for name in names]
    write_grid(rows, grid, labels=labels, seeds=seeds)
    for prompt, name in labels:
        console.print(f"row: {prompt!r}, {name}", soft_wrap=True, markup=False)
    console.print(f"written: {grid}", soft_wrap=True)


def _is_whole(place: Path) -> bool:
    return (place / "model_index.json").is_file()


def _patch_place(patch: Path) -> Path:
    """Where a patch or a pipeline lies; a run's folder stands for what the run has left in it.

    Raises:
        SourceNotFound: There is none.
        DataError: The file is no patch, or a damaged one.
    """
    from genunlearn.domains.diffusion.patches import patch_files, read_header
    from genunlearn.runs.diffusion.audit_models import unlearned_place

    place = unlearned_place(str(patch))
    if isinstance(place, str):
        raise SourceNotFound(f"no patch at {patch}: give a run's folder, a patch, or a file of another tool")
    for file in () if _is_whole(place) else patch_files(place):
        if file.suffix != ".json":
            read_header(file)
    return place


SMALLEST = 64
"""Images below this side are enlarged, pixel for pixel, so that people can see them."""
MARGIN, HEAD, LETTERS = 200, 22, 12
"""Width of the labels on the left, height of those on top, size of their letters, in pixels."""


def write_grid(rows: Sequence[Any], path: Path, *, labels: Sequence[tuple[str, str]], seeds: Sequence[int]) -> None:
    """Write rows of images, each ``(n, 3, height, width)`` in [0, 1], as one PNG with a frame around each image.

    Args:
        rows: The images.
        path: PNG file.
        labels: Prompt and pipeline of each row, written to its left.
        seeds: Seed of each column, written above it.
    """
    import torch
    from PIL import Image, ImageDraw

    from genunlearn.ops.images import grid, to_picture

    stacked = torch.stack(list(rows)).cpu()
    zoom = -(-SMALLEST // stacked.shape[-1])
    images = to_picture(grid(stacked.flatten(0, 1), stacked.shape[1], frame=0.5), zoom=zoom)
    height, width = images.height // len(stacked), images.width // stacked.shape[1]
    picture = Image.new("RGB", (MARGIN + images.width, HEAD + images.height), "white")
    picture.paste(images, (MARGIN, HEAD))
    pen, font = ImageDraw.Draw(picture), _font()
    for column, seed in enumerate(seeds):
        pen.text((MARGIN + column * width + 4, 4), f"seed {seed}", fill="black", font=font)
    for number, (prompt, name) in enumerate(labels):
        lines = [*_wrapped(prompt, font), *_wrapped(name, font)]
        room = max(1, height // (LETTERS + 3))
        if len(lines) > room:  # the last line says which pipeline it is
            lines = [*lines[: room - 1], lines[-1]]
        text = "\n".join(lines)
        pen.multiline_text((4, HEAD + number * height + 2), text, fill="black", font=font, spacing=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def _font() -> Any:
    """DejaVu, which comes with matplotlib and has the letters of most alphabets."""
    from matplotlib import get_data_path
    from PIL import ImageFont

    return ImageFont.truetype(str(Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), LETTERS)


def _wrapped(text: str, font: Any) -> list[str]:
    """`text` in lines that fit into the margin, broken anywhere: paths have no spaces."""
    lines = [""]
    for letter in " ".join(text.split()):
        if font.getlength(lines[-1] + letter) > MARGIN - 8:
            lines.append("")
        lines[-1] += letter
    return lines
