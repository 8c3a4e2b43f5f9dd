#!/usr/bin/env python
"""How fast concepts are erased, against plain implementations of the published loops, in one run.

    python scripts/bench/erasure.py                            # about 8 minutes on two cores
    python scripts/bench/erasure.py --write docs/erasure.md    # and put the tables there

* UCE: 32 random matrices of the sizes of Stable Diffusion 1.4 (keys and values of 16 layers that read 768 numbers), ten
  erased and fifty preserved concepts. The published loop adds up outer products and inverts, matrix by matrix.
* ESD-x on lab:diffusion: batches of one at equal iterations, rate and prompts. The published loop runs a fresh partial
  trajectory of the frozen model in every iteration; ours takes its points from a few trajectories that are kept.
* SalUn: the threshold over 20 million gradients by two full sorts, and training steps that encode prompts and images
  anew, against one k-th value and what was kept.

Both sides take turns in one process; ratios are medians over repeats with a 95% bootstrap interval. Where two sides
should give the same numbers, the largest difference stands in the table; ESD, which draws other points, is judged on
images. With CUDA, a second part erases from random networks of the shapes of Stable Diffusion 1.5 and SDXL.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from markdown_blocks import replace_block, table
from torch import Tensor

from genunlearn.config import ParametersConfig, TrainConfig
from genunlearn.contracts import Splits
from genunlearn.data.diffusion.concepts import ConceptPrompt, images_of
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.prompts import PromptCache
from genunlearn.domains.diffusion.sampling import Sampling, make_scheduler
from genunlearn.engine.trainer import Trainer
from genunlearn.evaluation.diffusion.metrics import ImageProbes
from genunlearn.lab.diffusion.build import build
from genunlearn.lab.diffusion.digit_prompts import STYLES, asked_of, concept_of, prompt_grid, prompt_of
from genunlearn.lab.diffusion.image_judge import load_judge
from genunlearn.methods.diffusion.esd import ESD
from genunlearn.methods.diffusion.salun import RandomConcept
from genunlearn.ops.linear_edits import replace_map
from genunlearn.ops.saliency import saliency_masks

DIM = 768
OUT = (320,) * 5 + (640,) * 5 + (1280,) * 6
"""Rows of the keys, and of the values, of Stable Diffusion 1.4's cross-attention layers."""

TARGETS = {"UCE": 50.0, "ESD-x": 5.0}
IMAGES = 60


@dataclass
class Contest:
    """Times of the published loop and of ours, in seconds, and what their results show.

    Attributes:
        name: As the table shows it.
        work: What is done, with its counts.
        theirs: Seconds of the published loop, by repeat.
        ours: Ours, by repeat.
        notes: What the results have in common, or show.
    """

    name: str
    work: str
    theirs: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    notes: str = ""

    def time(self, theirs: Callable[[], Any], ours: Callable[[], Any], *, is_ours_first: bool) -> tuple[Any, Any]:
        """Time both once, in turns; returns their results."""
        results: dict[bool, Any] = {}
        for mine in (is_ours_first, not is_ours_first):
            start = time.perf_counter()
            results[mine] = (ours if mine else theirs)()
            (self.ours if mine else self.theirs).append(time.perf_counter() - start)
        return results[False], results[True]

    def row(self) -> list[str]:
        """One line of the table."""
        ratios = [their / our for their, our in zip(self.theirs, self.ours, strict=True)]
        draws = np.random.default_rng(0).choice(ratios, (2000, len(ratios)))
        low, high = np.percentile(np.median(draws, 1), [2.5, 97.5])
        return [
            self.name,
            self.work,
            f"{median(self.theirs):.3g} s",
            f"{median(self.ours):.3g} s",
            f"{median(ratios):.1f} [{low:.1f}, {high:.1f}] (n={len(ratios)})",
            f"at least {TARGETS[self.name]:g}" if self.name in TARGETS else "",
            self.notes,
        ]


# ---- UCE --------------------------------------------------------------------------------------------------------


def uce(repeats: int) -> Contest:
    """The closed-form edit."""
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(rows, DIM, generator=generator) / DIM**0.5 for rows in OUT for _ in range(2)]
    erased, targets, kept = (torch.randn(n, DIM, generator=generator) for n in (10, 10, 50))
    contest = Contest("UCE", f"{len(weights)} matrices, {len(erased)} erased and {len(kept)} preserved concepts")
    gap = 0.0
    for repeat in range(repeats):
        plain, own = contest.time(
            partial(published_uce, weights, erased, targets, kept),
            partial(shared_uce, weights, erased, targets, kept),
            is_ours_first=bool(repeat % 2),
        )
        gap = max(gap, *(float((a - b).abs().max()) for a, b in zip(plain, own, strict=True)))
    contest.notes = f"largest difference of a weight {gap:.0e}"
    return contest


def published_uce(weights: Sequence[Tensor], erased: Tensor, targets: Tensor, kept: Tensor) -> list[Tensor]:
    """Outer products concept by concept and an inverse, for every matrix."""
    edited = []
    for weight in weights:
        wanted, seen = 0.5 * weight, 0.5 * torch.eye(DIM)
        for source, target in [*zip(erased, targets, strict=True), *((key, key) for key in kept)]:
            value = (weight @ target).unsqueeze(1)
            wanted = wanted + value @ source.unsqueeze(0)
            seen = seen + source.unsqueeze(1) @ source.unsqueeze(0)
        edited.append(wanted @ torch.inverse(seen))
    return edited


def shared_uce(weights: Sequence[Tensor], erased: Tensor, targets: Tensor, kept: Tensor) -> list[Tensor]:
    """One map of the input for all matrices."""
    edit = replace_map(erased, targets, kept, ridge=0.5)
    changes = [edit.change_of(weight) for weight in weights]
    return [torch.addmm(weight, change.up, change.down) for weight, change in zip(weights, changes, strict=True)]


# ---- ESD --------------------------------------------------------------------------------------------------------


def prompts_of(name: str) -> list[ConceptPrompt]:
    """One prompt a style."""
    texts = [prompt_of(concept_of(name).name, style).text for style in STYLES]
    return [ConceptPrompt(id=text, prompt=text, concept=concept_of(name).name) for text in texts]


def esd(repeats: int, iterations: int, rate: float) -> Contest:
    """Erasing "digit seven" by ESD-x, batches of one."""
    folder, prompts = str(build()), prompts_of("digit seven")
    contest = Contest("ESD-x", f"{iterations} iterations, one image each, {len(prompts)} prompts")
    forwards = {"published": 0, "ours": 0}
    shown: dict[str, list[tuple[float, float]]] = {"published": [], "ours": []}
    for repeat in range(repeats):
        models = {name: Diffusion.load(folder, device="cpu") for name in forwards}
        teacher = Diffusion.load(folder, device="cpu")
        contest.time(
            partial(published_esd, models["published"], teacher, prompts, iterations, rate, seed=repeat),
            partial(kept_esd, models["ours"], prompts, iterations, rate, seed=repeat),
            is_ours_first=bool(repeat % 2),
        )
        forwards = {"published": teacher.meter.frozen, "ours": models["ours"].meter.frozen}
        for name, model in models.items():
            shown[name].append(judged(model, folder))
    their, our = ("; ".join(f"UA {ua:.2f}, IRA {ira:.2f}" for ua, ira in shown[name]) for name in shown)
    ratio = forwards["published"] / forwards["ours"]
    contest.notes = (
        f"teacher forwards {forwards['published']} against {forwards['ours']} ({ratio:.1f} times fewer); "
        f"published: {their}; ours: {our} (n={IMAGES} images each)"
    )
    return contest


def published_esd(
    model: Diffusion, teacher: Diffusion, prompts: Sequence[ConceptPrompt], iterations: int, rate: float, seed: int
) -> None:
    """In every iteration a fresh partial trajectory of the teacher, then its two predictions, then the student's."""
    trained = [model.network.get_parameter(name) for name in model.parameter_names("x")]
    model.network.requires_grad_(False)
    for weight in trained:
        weight.requires_grad_(True)
    optimizer = torch.optim.Adam(trained, lr=rate)
    draw, sampling = random.Random(seed), Sampling(steps=50, guidance=3.0, scheduler="ddim", batch_size=1)
    timesteps = make_scheduler(teacher.family, sampling, teacher.latent_shape[-1], teacher.device).timesteps
    for iteration in range(iterations):
        text, steps = draw.choice(prompts).prompt, draw.randrange(50)
        noisy = teacher.sample([text], [seed * iterations + iteration], sampling, part=slice(0, steps))
        timestep = timesteps[steps : steps + 1]
        prompt, empty = teacher.encode_prompts([text]), teacher.unconditional(1)
        with torch.no_grad():
            conditional, unconditional = (teacher.predict(noisy, timestep, given) for given in (prompt, empty))
        target = conditional - 2.0 * (conditional - unconditional)
        optimizer.zero_grad()
        F.mse_loss(model.predict(noisy, timestep, prompt), target).backward()
        optimizer.step()


def kept_esd(model: Diffusion, prompts: Sequence[ConceptPrompt], iterations: int, rate: float, seed: int) -> None:
    """The product's own loop, on trajectories that are kept."""
    train = TrainConfig(learning_rate=rate, batch_size=1, max_steps=iterations, save_every=iterations)
    method = ESD(trajectories=24, guidance=3.0, strength=2.0)
    trainer = Trainer(model, train, ParametersConfig(kind="full", target_modules="x"), seed=seed)
    trainer(method, method.prepare(Splits(forget=list(prompts)), seed))


def judged(model: Diffusion, folder: str) -> tuple[float, float]:
    """UA and IRA on one set of prompts and seeds."""
    erased = concept_of("digit seven")
    own = [prompt_of("seven", style) for style in STYLES] * (IMAGES // len(STYLES))
    asked = [*own, *(prompt for prompt in prompt_grid() if not prompt.names(erased))]
    sampling = Sampling(steps=20, guidance=3.0, batch_size=64)
    images = model.images([prompt.text for prompt in asked], range(len(asked)), sampling)
    probes = ImageProbes(images=images, asked=asked_of(asked), judge=load_judge(folder), erased=[erased])
    gone, kept = probes.hits("object", probes.rows_of(erased)), probes.hits("object", probes.other_rows)
    return 1 - sum(gone) / len(gone), sum(kept) / len(kept)


# ---- SalUn ------------------------------------------------------------------------------------------------------


def salun_threshold(repeats: int, size: int) -> Contest:
    """Half of all weights, by the magnitude of their gradients."""
    generator = torch.Generator().manual_seed(0)
    gradients = {str(n): torch.randn(size // 8, generator=generator) for n in range(8)}
    contest = Contest("SalUn threshold", f"{size / 1e6:g} million gradients")
    same = True
    for repeat in range(repeats):
        plain, own = contest.time(
            partial(sorted_masks, gradients),
            partial(saliency_masks, gradients, 0.5),
            is_ours_first=bool(repeat % 2),
        )
        same &= all(torch.equal(plain[name], own[name]) for name in gradients)
    contest.notes = "the same masks" if same else "masks differ"
    return contest


def sorted_masks(gradients: dict[str, Tensor]) -> dict[str, Tensor]:
    """Two sorts of everything: the order, and the rank of each weight in it."""
    everything = -torch.cat([gradient.flatten() for gradient in gradients.values()]).abs()
    ranks = torch.argsort(torch.argsort(everything))
    marked, start, masks = ranks < len(everything) // 2, 0, {}
    for name, gradient in gradients.items():
        masks[name] = marked[start : start + gradient.numel()].reshape(gradient.shape)
        start += gradient.numel()
    return masks


def salun_step(repeats: int, steps: int, batch: int) -> Contest:
    """Training steps on the lab: images and prompts encoded anew, or kept."""
    folder = str(build())
    contest = Contest("SalUn steps", f"{steps} steps, batches of {batch} and {batch}")
    forget = [
        ConceptPrompt(id=p.id, prompt=p.prompt, concept=p.concept, anchor=q.prompt)
        for p, q in zip(prompts_of("digit seven"), prompts_of("digit one"), strict=True)
    ]
    drawn = Diffusion.load(folder, device="cpu")
    sides = [
        drawn.render(images_of(side, 32, seed=0, steps=20, guidance=3.0)) for side in (forget, prompts_of("digit two"))
    ]
    images = [drawn.decode(torch.stack([item.latents for item in side])) for side in sides]
    for repeat in range(repeats):
        models = [Diffusion.load(folder, device="cpu") for _ in range(2)]
        contest.time(
            partial(published_salun, models[0], sides, images, steps, batch),
            partial(kept_salun, models[1], sides, steps, batch),
            is_ours_first=bool(repeat % 2),
        )
    contest.notes = f"text encoder {steps * 3} calls against 1, images encoded {steps * 2 * batch} times against never"
    return contest


def published_salun(
    model: Diffusion, sides: Sequence[Sequence[Any]], images: Sequence[Tensor], steps: int, batch: int
) -> None:
    """Text encoder and VAE run in every step."""
    optimizer, draw = torch.optim.Adam(model.network.parameters(), lr=1e-5), random.Random(0)
    for _ in range(steps):
        loss = torch.zeros(())
        for side, pictures, weight in zip(sides, images, (1.0, 0.1), strict=True):
            rows = draw.sample(range(len(side)), batch)
            latents = model.encode_images(pictures[rows])
            noised = model.noised(latents, [side[row].id for row in rows])
            output = model.predict(noised.latents, noised.timesteps, fresh(model, [side[row].prompt for row in rows]))
            target = noised.target
            if weight == 1.0:
                with torch.no_grad():
                    anchor = fresh(model, [side[row].anchor for row in rows])
                    target = model.predict(noised.latents, noised.timesteps, anchor)
            loss = loss + weight * F.mse_loss(output, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def fresh(model: Diffusion, texts: list[str]) -> Any:
    """Embeddings that are not looked up."""
    model.prompts = PromptCache(lambda: model.family, model.family.sections)
    return model.encode_prompts(texts)


def kept_salun(model: Diffusion, sides: Sequence[Sequence[Any]], steps: int, batch: int) -> None:
    """The product's own loop on latents and embeddings that are kept."""
    train = TrainConfig(learning_rate=1e-5, batch_size=batch, max_steps=steps, save_every=steps)
    trainer = Trainer(model, train, ParametersConfig(kind="full"), seed=0)
    trainer(RandomConcept(preserve_weight=0.1), Splits(forget=list(sides[0]), retain=list(sides[1])))


# ---- the whole --------------------------------------------------------------------------------------------------

HEADER = ["what", "work", "published loop", "ours", "ratio", "target", "what the results show"]


def main() -> None:
    """Run the contests, print the tables, write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="repeats of each contest")
    parser.add_argument("--iterations", type=int, default=200, help="iterations of ESD")
    parser.add_argument("--rate", type=float, default=3e-4, help="learning rate of ESD, on both sides")
    parser.add_argument("--write", type=Path, help="Markdown file whose block 'speed' the table replaces")
    arguments = parser.parse_args()
    contests = [
        uce(max(arguments.repeats, 5)),
        esd(arguments.repeats, arguments.iterations, arguments.rate),
        salun_threshold(arguments.repeats, 20_000_000),
        salun_step(arguments.repeats, 20, 8),
    ]
    text = table(HEADER, [contest.row() for contest in contests])
    if torch.cuda.is_available():
        from erasure_shapes import on_cuda

        text += "\n\n" + on_cuda()
    print(text)
    if arguments.write:
        replace_block(arguments.write, "speed", text)


if __name__ == "__main__":
    main()
