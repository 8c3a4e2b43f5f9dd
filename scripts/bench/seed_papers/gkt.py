"""Zero-shot unlearning (Chundawat et al., TIFS 2023): gated knowledge transfer over pseudo-batches, digit 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from markdown_blocks import table

from genunlearn.data.network.items import Item
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.lab.network.digits import DIGITS
from genunlearn.methods.network.gkt import GKT, Transfer
from seed_papers.cells import over, percent
from seed_papers.mnist import accuracy, read_mnist, teach

FORGOTTEN = 0
PUBLISHED = {450: (85.4, 0.0), 600: (87.0, 0.0), 700: (89.7, 0.0), 750: (94.8, 0.0), 800: (98.4, 6.0),
             850: (98.8, 53.3), 900: (98.8, 76.3)}  # fmt: skip
"""Accuracy on retain and forget test digits by pseudo-batches: AllCNN, batches of 256, the authors' notebook."""
TEACHER = ("99.35", "99.51")
MARKS = (150, 300, *PUBLISHED, 950, 1000)
AUTHORS = GKT(batch_size=256, reduction="mean")
SMALL = GKT(batch_size=64)
HEADER = ("pseudo-batches", "published: retain", "forget", "ours, gate alone: retain", "forget", "leak",
          "ours, class hidden: retain", "forget", "leak")  # fmt: skip

Look = tuple[float, float, float]
"""Accuracy on retain and forget, and the guard's running measure of the leak."""


def run_digits(seeds: int) -> str:
    """On lab:digits, with smaller batches."""
    return rows(SMALL, [DIGITS.original(seed) for seed in range(seeds)], DIGITS.data.test)


def run_mnist(seeds: int, mnist: Path | None) -> str:
    """On MNIST at half its resolution, with the authors' batches and divergence."""
    if mnist is None or not mnist.is_file():
        return "Not run: no MNIST file was given (`--mnist` or `GENUNLEARN_MNIST`)."
    train, test = read_mnist(mnist, 20_000, 5_000)
    return rows(AUTHORS, [teach(train, seed) for seed in range(seeds)], test)


def rows(method: GKT, teachers: Sequence[NetworkDomain], test: Sequence[Item]) -> str:
    """Two trajectories a teacher: with the gate alone, as published, and with the class hidden from the student."""
    kept = [item for item in test if int(item.target) != FORGOTTEN]
    gone = [item for item in test if int(item.target) == FORGOTTEN]
    plain, guarded = (
        [trajectory(known, replace(method, guard=guard, seed=seed), kept, gone) for seed, known in enumerate(teachers)]
        for guard in ("authors", "hidden")
    )
    levels = [percent([accuracy(teacher, items) for teacher in teachers]) for items in (kept, gone)]
    lines = [["teacher", *TEACHER, *levels, "-", *levels, "-"]]
    for mark in MARKS:
        published = [f"{value}" for value in PUBLISHED.get(mark, ("-", "-"))]
        lines.append([str(mark), *published, *cells(plain, mark), *cells(guarded, mark)])
    return table(HEADER, lines)


def cells(curves: Sequence[dict[int, Look]], mark: int) -> list[str]:
    """Retain and forget accuracy and the leak at a mark, over seeds."""
    retain, forget, leak = zip(*(curve[mark] for curve in curves), strict=True)
    return [percent(retain), percent(forget), over(leak, 4, least=0.0)]


def trajectory(teacher: NetworkDomain, method: GKT, kept: Sequence[Item], gone: Sequence[Item]) -> dict[int, Look]:
    """The student at the marks; nothing stops it on the way."""
    curve = {}
    with torch.random.fork_rng(devices=[]), teacher.inference():
        torch.manual_seed(method.seed)
        game = Transfer(method, teacher, [FORGOTTEN], "x", gone[0].inputs["x"].shape)
        for number in range(1, MARKS[-1] + 1):
            game.step()
            if number % method.check_every == 0:
                game.remember()
            if number in MARKS:
                curve[number] = accuracy(game.student, kept), accuracy(game.student, gone), game.leak
                print(f"{method.guard}, {number} pseudo-batches: {curve[number]}", flush=True)
    return curve
