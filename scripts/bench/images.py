#!/usr/bin/env python
"""Images a second and steps of ESD-x a second, beside plain diffusers and the published loop.

    python scripts/bench/images.py                          # lab:diffusion on the CPU, some two minutes
    python scripts/bench/images.py --shape sd15             # CUDA, bfloat16, random weights of those shapes
    python scripts/bench/images.py --shape sdxl --images 8
    python scripts/bench/images.py --write docs/performance.md

Images are made with the settings of the configuration `diffusion/audit/quick` (20 steps, guidance 3). Plain diffusers
calls the pipeline prompt after prompt, as evaluation code commonly does, or once for all prompts of a batch; noise is
the same, and the last column is the largest difference of a pixel. ESD-x takes one image a step: the published loop
runs a fresh partial trajectory of the frozen model in each of them, ours goes over kept trajectories, whose making
counts in `in all`. Images are made in turns; seconds are medians with their range, on the CPU those of the processor.
"""

from __future__ import annotations

import argparse
import copy
import gc
import random
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from erasure import published_esd
from lm_train import now
from markdown_blocks import replace_block, table
from torch import Tensor

from genunlearn.config import ParametersConfig, TrainConfig, load_config
from genunlearn.contracts import Splits
from genunlearn.data.diffusion.concepts import ConceptPrompt
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.pipelines import channels_last
from genunlearn.domains.diffusion.sampling import Sampling
from genunlearn.engine.trainer import Trainer
from genunlearn.lab.diffusion.build import build
from genunlearn.methods.diffusion.esd import ESD

IMAGE_COLUMNS = ("images", "batch", "seconds", "images/s", "ours beside it", "pixels apart")
STEP_COLUMNS = (
    "ESD-x",
    "steps",
    "s/step",
    "in all: s",
    "ratio of all s a step",
    "evaluations of the frozen model a step",
)
TRAJECTORIES = 8
"""Kept by ours: the method's own default."""
RATE = 1e-5


def open_model(shape: str, device: torch.device, is_compiled: bool) -> Diffusion:
    """The lab's pipeline, or one with random weights of a published shape."""
    if shape == "lab":
        model = Diffusion.load(str(build()), device=device.type)
    else:
        import erasure_shapes

        makers: dict[str, Callable[[str], Any]] = {"sd15": erasure_shapes.sd15, "sdxl": erasure_shapes.sdxl}
        pipeline = makers[shape](device.type)
        pipeline.set_progress_bar_config(disable=True)
        pipeline.to(device, torch.bfloat16 if device.type == "cuda" else torch.float32)
        if device.type == "cuda":
            for part in (pipeline.unet, pipeline.vae):
                channels_last(part)
        model = Diffusion(pipeline)
    if is_compiled:
        model.network.compile()
    return model


def prompts_of(count: int) -> list[str]:
    """Words of the lab's tokenizer, which all shapes have."""
    digits = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    return [f"digit {digits[n % len(digits)]}" for n in range(count)]


def plainly(model: Diffusion, prompts: Sequence[str], sampling: Sampling, size: int) -> Tensor:
    """Images of plain diffusers, `size` prompts in a call, from the same noise."""
    made = []
    for start in range(0, len(prompts), size):
        rows = range(start, min(start + size, len(prompts)))
        made.append(
            model.pipeline(
                [prompts[row] for row in rows],
                num_inference_steps=sampling.steps,
                guidance_scale=sampling.guidance,
                generator=[torch.Generator().manual_seed(row) for row in rows],
                output_type="pt",
            ).images
        )
    return torch.cat(made).float()


def images(model: Diffusion, count: int, turns: int) -> list[list[str]]:
    """Rows of the table of images: plain ways, then ours."""
    config: Any = load_config("diffusion/audit/quick")
    settings = config.evaluate
    size = min(count, settings.batch_size)
    sampling = Sampling(steps=settings.steps, guidance=settings.guidance, batch_size=size)
    prompts = prompts_of(count)
    ways: dict[str, tuple[int, Callable[[], Tensor]]] = {
        "plain diffusers, prompt by prompt": (1, lambda: plainly(model, prompts, sampling, 1)),
        "plain diffusers, in batches": (size, lambda: plainly(model, prompts, sampling, size)),
        "ours": (size, lambda: model.images(prompts, range(count), sampling)),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, Tensor] = {}
    warm_up = Sampling(steps=1, guidance=settings.guidance, batch_size=size)
    model.images(prompts[:size], range(size), warm_up)
    for _ in range(turns):
        for name, (_, way) in ways.items():
            start = now(model.device)
            found[name] = way().cpu()
            times[name].append(now(model.device) - start)
    ours = statistics.median(times["ours"])
    rows = []
    for name, (batch, _) in ways.items():
        middle = statistics.median(times[name])
        apart = (found[name] - found["ours"]).abs().max().item()
        ratio = "" if name == "ours" else f"{middle / ours:.1f}"
        gap = "" if name == "ours" else f"{apart:.0e}"
        rows.append([f"{name}, {count}", str(batch), spread(times[name]), f"{count / middle:.2f}", ratio, gap])
    return rows


def erasures(model: Diffusion, steps: int, plain_steps: int) -> list[list[str]]:
    """Rows of the table of steps; the model is not that of before afterwards."""
    prompts = [ConceptPrompt(id="seven", prompt="digit seven", concept="digit seven")]
    student = copy.copy(model)
    student.module = copy.deepcopy(model.network)
    start, done = now(model.device), model.meter.frozen
    published_esd(student, model, prompts, plain_steps, RATE, seed=0)
    plain = now(model.device) - start
    asked = (model.meter.frozen - done) / plain_steps
    del student
    gc.collect()
    train = TrainConfig(learning_rate=RATE, batch_size=1, max_steps=steps, save_every=steps)
    method = ESD(trajectories=TRAJECTORIES, guidance=3.0, strength=2.0)
    marks: list[float] = []
    start, done = now(model.device), model.meter.frozen
    trainer = Trainer(model, train, ParametersConfig(kind="full", target_modules="x"), seed=0)
    handle = model.network.register_forward_hook(
        lambda module, given, out: marks.append(now(model.device)) if torch.is_grad_enabled() else None
    )
    trainer(method, method.prepare(Splits(forget=prompts), 0))
    handle.remove()
    whole = now(model.device) - start
    # Forward passes of training steps: what lies between the first and the last of them, over the steps between.
    step = (marks[-1] - marks[0]) / max(1, len(marks) - 1)
    kept = (model.meter.frozen - done) / steps
    rows = [["published loop", str(plain_steps), f"{plain / plain_steps:.3f}", f"{plain:.1f}", "", f"{asked:.1f}"]]
    ratio = (
        f"{plain / plain_steps / (whole / steps):.1f}"  # with the trajectories, which are made before the first step
    )
    return [*rows, ["ours", str(steps), f"{step:.3f}", f"{whole:.1f}", ratio, f"{kept:.1f}"]]


def spread(times: Sequence[float]) -> str:
    """Median and range."""
    return f"{statistics.median(times):.2f} [{min(times):.2f}, {max(times):.2f}]"


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=("lab", "sd15", "sdxl"), default="lab")
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--steps", type=int, default=200, help="of ESD-x, ours")
    parser.add_argument("--plain-steps", type=int, default=20, help="of ESD-x, the published loop")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="as model.compile does")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--write", type=Path, help="a page with a block `images SHAPE`")
    arguments = parser.parse_args()
    random.seed(0)
    torch.manual_seed(0)
    device = torch.device(arguments.device)
    model = open_model(arguments.shape, device, arguments.compile)
    text = table(IMAGE_COLUMNS, images(model, arguments.images, arguments.turns))
    print(text, flush=True)
    text += "\n\n" + table(STEP_COLUMNS, erasures(model, arguments.steps, arguments.plain_steps))
    where = f"{torch.get_num_threads()} CPU threads"
    if device.type == "cuda":
        where = f"{torch.cuda.get_device_name(device)}, peak {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"
    note = f"{arguments.shape}{', compiled' * arguments.compile} on {where}, torch {torch.__version__}."
    text += f"\n\n{note}"
    print(text)
    if arguments.write:
        replace_block(arguments.write, f"images {arguments.shape}", text)


if __name__ == "__main__":
    main()
