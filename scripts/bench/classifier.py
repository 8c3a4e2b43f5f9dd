#!/usr/bin/env python
"""How fast the unlearners of classifiers are, against plain implementations of the published loops, in one run.

    python scripts/bench/classifier.py                          # about 5 minutes on two cores
    python scripts/bench/classifier.py --write docs/fidelity.md # and put the table there

Both sides do the same work on the same network and data in the same process: after every repeat their results
(losses, Fisher diagonals, features, masks) are compared, and the largest difference stands in the table. The two take
turns, so that whatever else the machine does hits both alike; beside the wall time stands the process's own CPU time.
Ratios are medians over repeats with a 95% bootstrap interval.

The published loops are written from descriptions of the reference code: two live teachers on every batch, one backward
pass for each sample, one forward pass for each sample, a sort of all gradients. Two things are made equal in favour of
a fair comparison: BatchNorm's statistics are held on both sides, and data loaders work in the process itself.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from markdown_blocks import replace_block, table
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from genunlearn.config import TrainConfig
from genunlearn.contracts import Splits
from genunlearn.data.network.items import Item, as_items
from genunlearn.domains.network.classifier import Classifier
from genunlearn.engine.batches import PairedBatches
from genunlearn.engine.loop import Loop
from genunlearn.engine.reference import make_reference
from genunlearn.lab.network.digits import DIGITS, Block, build_resnet
from genunlearn.methods.network.bad_teaching import BadTeaching
from genunlearn.ops.fisher import empirical_fisher
from genunlearn.ops.randomness import entropy
from genunlearn.ops.saliency import saliency_masks

CLASSES = 10
RATE = 1e-4
TOLERANCE = 1e-3

Work = Callable[[], Tensor]
"""What is timed; returns what is compared."""


@dataclass
class Contest:
    """One comparison.

    Attributes:
        name: As the table shows it.
        n: What it is done with, in words.
        target: Ratio of wall times to reach; None where none was set.
        prepare: Gives (published loop, ours), ready to be timed once.
    """

    name: str
    n: str
    target: float | None
    prepare: Callable[[], tuple[Work, Work]]
    wall: list[tuple[float, float]] = field(default_factory=list)
    cpu: list[tuple[float, float]] = field(default_factory=list)
    difference: float = 0.0

    def repeat(self, *, is_ours_first: bool) -> None:
        """Time both sides once and compare what they give."""
        works = self.prepare()
        order = (1, 0) if is_ours_first else (0, 1)
        walls, cpus, results = [0.0, 0.0], [0.0, 0.0], [torch.zeros(0)] * 2
        for side in order:
            wall, cpu = time.perf_counter(), time.process_time()
            results[side] = works[side]()
            walls[side], cpus[side] = time.perf_counter() - wall, time.process_time() - cpu
        self.wall.append((walls[0], walls[1]))
        self.cpu.append((cpus[0], cpus[1]))
        theirs, ours = (result.double().flatten() for result in results)
        self.difference = max(self.difference, float((theirs - ours).norm() / theirs.norm()))

    def row(self) -> list[str]:
        """The line of the table."""
        theirs, ours = (median(times) for times in zip(*self.wall, strict=True))
        goal = "-" if self.target is None else f"{self.target:g}x"
        return [
            self.name, self.n, f"{1000 * theirs:.0f} ms", f"{1000 * ours:.0f} ms", ratio(self.wall), ratio(self.cpu),
            goal, f"{self.difference:.0e}",
        ]  # fmt: skip


HEADER = ("", "threads", "n", "published loop", "ours", "ratio, wall", "ratio, CPU", "target", "largest difference")


def ratio(times: list[tuple[float, float]]) -> str:
    """Median ratio over repeats with its bootstrap interval."""
    ratios = np.array([theirs / ours for theirs, ours in times])
    picks = np.random.default_rng(0).integers(0, len(ratios), size=(2000, len(ratios)))
    low, high = np.percentile(np.median(ratios[picks], axis=1), [2.5, 97.5])
    return f"{np.median(ratios):.2f}x [{low:.2f}, {high:.2f}]"


# ---- the network and its data -------------------------------------------------------------------------------------


def build_resnet20() -> nn.Module:
    """ResNet-20 for pictures of 32 x 32 pixels (He et al., 2016), 0.27 million weights."""
    stages = [(16, 16, 1), (16, 32, 2), (32, 64, 2)]
    blocks = [
        Block(c_in if first else c_out, c_out, stride if first else 1)
        for c_in, c_out, stride in stages
        for first in (True, False, False)
    ]
    stem = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, CLASSES))


def open_network(seed: int) -> nn.Module:
    """A network with random weights, laid out as torch does by default."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_resnet20().eval()


def open_digits_network() -> nn.Module:
    """The network of lab:digits with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_resnet(CLASSES).eval()


def copy_of(network: nn.Module) -> nn.Module:
    """The same weights in a second network of the default layout, in evaluation mode."""
    twin = build_resnet20()
    twin.load_state_dict(network.state_dict())
    return twin.eval()


def pictures(count: int, prefix: str, seed: int) -> list[Item]:
    """Random pictures with random labels: speed does not depend on what they show."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 3, 32, 32, generator=generator)
    return as_items((x, torch.randint(CLASSES, (count,), generator=generator)), prefix=prefix)


# ---- bad teaching -------------------------------------------------------------------------------------------------


def bad_teaching(steps: int, half: int, *, is_filled: bool) -> Contest:
    """Steps of distillation from two teachers; `is_filled`: the fixed answers are there already."""
    forget, retain = pictures(steps * half, "forget-", 1), pictures(steps * half, "retain-", 2)
    method = BadTeaching(retain_share=1.0, forget_weight=0.5, retain_weight=0.5, reduction="mean")
    splits: Splits[Any] = Splits(forget=forget, retain=retain)
    batches = PairedBatches(splits, half, 1, seed=0)

    def prepare() -> tuple[Work, Work]:
        original, domain = open_network(0), Classifier(open_network(0))
        reference = make_reference(domain, "full")
        if is_filled:
            reference.fill(method, splits, domain, 4 * half)
        incompetent = copy_of(domain.fresh(0).network)
        accelerator = Accelerator(cpu=True)
        optimizer = accelerator.prepare_optimizer(torch.optim.AdamW(domain.module.parameters(), RATE, weight_decay=0))
        settings = TrainConfig(learning_rate=RATE, batch_size=half, max_grad_norm=1e9)
        loop = Loop(domain, method, reference, batches, optimizer, settings, accelerator, 0)

        def ours() -> Tensor:
            if not is_filled:
                reference.fill(method, splits, domain, 4 * half)
            return torch.tensor([entry["loss"] for entry in loop.run(0, steps)])

        return lambda: published_bad_teaching(copy_of(original), original, incompetent, batches, steps), ours

    name = "bad-teaching step" if is_filled else "bad-teaching epoch with the teachers' own pass"
    n = f"{steps} steps of {2 * half} pictures"
    return Contest(name, n, 1.4 if is_filled else None, prepare)


def published_bad_teaching(
    student: nn.Module, competent: nn.Module, incompetent: nn.Module, batches: PairedBatches, steps: int
) -> Tensor:
    """Every batch goes through student and both teachers; a gate picks one teacher for each sample."""
    data: list[tuple[Tensor, Any, bool]] = []
    order: list[range] = []
    for step in range(steps):
        (rows,) = batches.window(step)
        first = len(data)
        data += [(item.inputs["x"], item.target, side == "forget") for side, items in rows.items() for item in items]
        order.append(range(first, len(data)))
    loader: Any = DataLoader(data, batch_sampler=order)  # type: ignore[arg-type]
    optimizer = torch.optim.Adam(student.parameters(), lr=RATE)
    losses = []
    for x, _, is_forget in loader:
        with torch.no_grad():
            known, strange = competent(x).softmax(1), incompetent(x).softmax(1)
        gate = is_forget[:, None].float()
        target = gate * strange + (1 - gate) * known
        output = student(x).log_softmax(1)
        optimizer.zero_grad()
        loss = F.kl_div(output, target, reduction="sum") / output.numel()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses)


# ---- importance of weights, features of a membership attack, saliency mask -----------------------------------------


def one_by_one(items: list[Item]) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of a single picture and its class."""
    return iter(DataLoader([(item.inputs["x"], item.target) for item in items], batch_size=1))  # type: ignore[arg-type]


def fisher(network: nn.Module, items: list[Item], name: str) -> Contest:
    """Squared gradient of every sample, averaged."""
    count, plain, domain = len(items), copy.deepcopy(network), Classifier(network)
    weights = dict(domain.network.named_parameters())

    def ours() -> Tensor:
        total = empirical_fisher(domain.sample_loss, weights, domain.collate(items).tensors)
        return torch.cat([value.flatten() for value in total.values()]) / count

    def theirs() -> Tensor:
        total = [torch.zeros_like(weight) for weight in plain.parameters()]
        for x, y in one_by_one(items):
            plain.zero_grad()
            F.cross_entropy(plain(x), y).backward()
            for value, weight in zip(total, plain.parameters(), strict=True):
                assert weight.grad is not None
                value += weight.grad.detach() ** 2 / count
        return torch.cat([value.flatten() for value in total])

    return Contest(f"empirical Fisher, per sample, {name}", f"{count} pictures", 4.0, lambda: (theirs, ours))


def membership(network: nn.Module, items: list[Item], name: str) -> Contest:
    """Entropy of the prediction for every sample: what the published membership attack looks at."""
    plain, domain = copy.deepcopy(network), Classifier(network)

    def theirs() -> Tensor:
        rows = []
        with torch.no_grad():
            for x, _ in one_by_one(items):
                rows.append(plain(x).softmax(1))
        probabilities = torch.cat(rows)
        return -torch.where(probabilities > 0, probabilities * probabilities.log(), 0.0).sum(1)

    def ours() -> Tensor:
        return entropy(domain.predict(items))

    return Contest(f"membership features, {name}", f"{len(items)} pictures", 3.0, lambda: (theirs, ours))


def mask(millions: int) -> Contest:
    """The mask of the half of all weights with the largest gradients."""
    generator = torch.Generator().manual_seed(5)
    gradients = {f"layer {n}": torch.randn(1_000_000, generator=generator) for n in range(millions)}

    def theirs() -> Tensor:
        size = -torch.cat([gradient.flatten().abs() for gradient in gradients.values()])
        ranks = torch.argsort(torch.argsort(size))
        return (ranks < len(size) // 2).float()

    def ours() -> Tensor:
        return torch.cat(list(saliency_masks(gradients, 0.5).values())).float()

    return Contest("saliency mask", f"{millions} million weights", None, lambda: (theirs, ours))


def contests() -> list[Contest]:
    """All comparisons."""
    digits = list(DIGITS.data.train)[:512]
    return [
        bad_teaching(4, 64, is_filled=True),
        bad_teaching(4, 64, is_filled=False),
        fisher(open_digits_network(), digits, "lab:digits"),
        fisher(open_network(0), pictures(256, "sample-", 3), "ResNet-20"),
        membership(open_digits_network(), digits, "lab:digits"),
        membership(open_network(0), pictures(512, "sample-", 4), "ResNet-20"),
        mask(4),
    ]


def main() -> None:
    """Run the contests, print the table, fail where the work was not equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9, help="how often each side is timed")
    parser.add_argument("--threads", type=int, nargs="+", default=[2, 1], help="threads of torch, on both sides")
    parser.add_argument("--write", type=Path, help="Markdown document that gets the table")
    arguments = parser.parse_args()
    rows, unequal = [], set()
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        for contest in contests():
            contest.repeat(is_ours_first=False)  # to warm up
            contest.wall.clear()
            contest.cpu.clear()
            for number in range(arguments.repeats):
                contest.repeat(is_ours_first=number % 2 == 1)
            first, *rest = contest.row()
            rows.append([first, str(threads), *rest])
            print(*rows[-1], sep=" | ", flush=True)
            if contest.difference > TOLERANCE:
                unequal.add(contest.name)
    made = f"torch {torch.__version__}, {arguments.repeats} repeats a line, bad teaching on ResNet-20."
    text = f"{table(HEADER, rows)}\n\n{made}"
    print(f"\n{text}")
    if arguments.write:
        replace_block(arguments.write, "speed", text)
    if unequal:
        raise SystemExit(f"not the same results: {', '.join(sorted(unequal))}")


if __name__ == "__main__":
    main()
