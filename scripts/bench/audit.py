#!/usr/bin/env python
"""What the partial-diffusion attack costs: one trajectory of the original for all psi, against one for each psi.

    python scripts/bench/audit.py                    # one prompt, published protocol, about six minutes on a core
    python scripts/bench/audit.py --seeds 8          # a larger batch
    python scripts/bench/audit.py --write docs/audits.md

One prompt in the published protocol: eight psi, 100 steps, guidance 7.5, on lab:diffusion; with one seed, as it was
published, and with several, which ours completes together. The plain implementation reruns the original from noise
for every psi and makes one image a call; its images are compared with ours. As the unlearned model serves the original
with its cross-attention scaled down: what is measured does not depend on weights. Wall times are medians over
repetitions in which the two take turns; the ratio's interval is a bootstrap over them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from markdown_blocks import replace_block, table
from torch import Tensor

from genunlearn.attacks.diffusion.partial_diffusion import PartialDiffusion
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.lab.diffusion.build import build
from genunlearn.lab.diffusion.digit_prompts import prompt_of
from genunlearn.ops.intervals import Estimate, mean

LEAST = 3.0
"""How many times fewer forwards of the original, and, with the most seeds, how many times less time is asked for."""


@dataclass(frozen=True)
class Cost:
    """What one way of running the attack has cost.

    Attributes:
        original: Evaluations of the original's denoiser, counted in samples.
        unlearned: Evaluations of the unlearned model's.
        seconds: Wall time.
    """

    original: int
    unlearned: int
    seconds: float


def main() -> None:
    """Run both ways, compare their images, print the table; exit with 1 where a ratio is below `LEAST`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 4], help="images of each psi, one row each")
    parser.add_argument("--repeats", type=int, default=5, help="how often each way is timed")
    parser.add_argument("--steps", type=int, default=100, help="denoising steps of an image")
    parser.add_argument("--write", type=Path, help="Markdown file whose block 'speed' the table replaces")
    arguments = parser.parse_args()

    folder = str(build())
    original, unlearned = Diffusion.load(folder, device="cpu"), weakened(Diffusion.load(folder, device="cpu"))
    attack = PartialDiffusion(steps=arguments.steps)
    rows, gaps, ratios = [], [], []
    for count in sorted(arguments.seeds):
        prompts, seeds = [prompt_of("seven", "red").text] * count, list(range(count))
        costs: dict[str, list[Cost]] = {"plain": [], "shared": []}
        for _ in range(arguments.repeats):
            one, images = shared(attack, original, unlearned, prompts, seeds)
            other, expected = plain(attack, original, unlearned, prompts, seeds)
            costs["shared"].append(one)
            costs["plain"].append(other)
        fewer, faster = how_many_times(costs["plain"], costs["shared"])
        rows += rows_of(count, costs)
        rows.append(["ratio", *(f"{times:.2f}" for times in fewer), "{:.2f} [{:.2f}, {:.2f}]".format(*faster)])
        ratios += [fewer[0]]
        gaps.append(float((images - expected).abs().max()))
    what = f"{len(attack.psis)} psi, {arguments.steps} steps"
    heads = [what, "forwards of the original", "of the audited model", "in all", f"time, median of {arguments.repeats}"]
    note = (
        f"The images of the two differ by at most {max(gaps):.0e}; at least {LEAST:g} times fewer forwards of the "
        "original are asked for, and, with the most seeds, as much less time."
    )
    text = f"{table(heads, rows)}\n\n{note}"
    print(text)
    if arguments.write:
        replace_block(arguments.write, "speed", text)
    if min(*ratios, faster[0]) < LEAST or max(gaps) > 1e-2:
        raise SystemExit(1)


def shared(
    attack: PartialDiffusion, original: Diffusion, unlearned: Diffusion, prompts: list[str], seeds: list[int]
) -> tuple[Cost, Tensor]:
    """The attack as the library runs it; images ``(psis, seeds, 3, height, width)``."""
    start = time.perf_counter()
    begun = attack.start(original, prompts, seeds)
    done = attack.complete(unlearned, begun)
    return Cost(begun.forwards, done.forwards, time.perf_counter() - start), done.images


def plain(
    attack: PartialDiffusion, original: Diffusion, unlearned: Diffusion, prompts: list[str], seeds: list[int]
) -> tuple[Cost, Tensor]:
    """The original anew for every psi, one image a call."""
    start, before = time.perf_counter(), (original.meter.frozen, unlearned.meter.frozen)
    rows = []
    for cut in attack.cuts(original).values():
        for prompt, seed in zip(prompts, seeds, strict=True):
            begun = original.sample([prompt], [seed], attack.sampling, part=slice(0, cut))
            latents = begun if cut else None
            ended = unlearned.sample([prompt], [seed], attack.sampling, part=slice(cut, None), latents=latents)
            rows.append(unlearned.decode(ended))
    spent = time.perf_counter() - start
    images = torch.cat(rows)
    cost = Cost(original.meter.frozen - before[0], unlearned.meter.frozen - before[1], spent)
    return cost, images.view(len(attack.psis), len(seeds), *images.shape[1:])


def weakened(model: Diffusion) -> Diffusion:
    """The model with its values of the prompt at half their size."""
    with torch.no_grad():
        for layer in model.prompt_layers(values_only=True).values():
            layer.weight.mul_(0.5)
    return model


def rows_of(seeds: int, costs: dict[str, list[Cost]]) -> list[list[str]]:
    """Forwards and seconds of both ways."""
    rows = []
    for name, each in costs.items():
        seconds = statistics.median(cost.seconds for cost in each)
        forwards = [f"{count:,}" for count in forwards_of(each[0])]
        rows.append([f"{name}, {seeds} seed{'s' * (seeds > 1)}", *forwards, f"{seconds:.2f} s"])
    return rows


def forwards_of(cost: Cost) -> tuple[int, int, int]:
    """Of the original, of the unlearned model, of both."""
    return cost.original, cost.unlearned, cost.original + cost.unlearned


def how_many_times(plain: list[Cost], shared: list[Cost]) -> tuple[list[float], Estimate]:
    """The ratios of forwards, and of the times of each repetition their mean with its interval."""
    fewer = [one / other for one, other in zip(forwards_of(plain[0]), forwards_of(shared[0]), strict=True)]
    return fewer, mean([one.seconds / other.seconds for one, other in zip(plain, shared, strict=True)])


if __name__ == "__main__":
    main()
