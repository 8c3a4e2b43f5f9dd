#!/usr/bin/env python
"""Seconds of a training step of language models, beside the plain loop that unlearning code commonly has.

    python scripts/bench/lm_train.py                        # a tiny Llama on the CPU, some two minutes
    python scripts/bench/lm_train.py --shape small --turns 2
    python scripts/bench/lm_train.py --shape 135m --case "NPO, LoRA" --batch 8 --turns 2 --steps 3   # SmolLM2's
    python scripts/bench/lm_train.py --shape 1b             # CUDA, bfloat16
    python scripts/bench/lm_train.py --write docs/performance.md

The plain loop is that of published code for NPO and gradient difference: one forward pass a side, another of a copy of
the model for the reference in every step, logits of all positions in float32, batches padded to the longest. Both take
the same items in the same order from the same random weights, with the same optimiser settings, in turns; questions and
answers have the lengths of TOFU's in the tokens of a vocabulary of 49,152. Printed are seconds a step (on the CPU those
of the processor, which other programs disturb less; median over all steps but each turn's first, with its bootstrap
interval), their ratio, the arithmetic that the model itself asks for (two operations a weight and token forward, twice
that backward, output layer at answers only, padding left out; on CUDA also as a share of what products of large
matrices in bfloat16 reach there), peak memory on CUDA, and the largest difference of the losses, as a share of the
larger side's.
"""

from __future__ import annotations

import argparse
import copy
import gc
import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from markdown_blocks import replace_block, table
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from genunlearn.config import ParametersConfig, TrainConfig
from genunlearn.contracts import Splits
from genunlearn.data.lm.facts import QA
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.domains.lm.chat import Turn
from genunlearn.engine import parameters
from genunlearn.engine.batches import PairedBatches, derive_seed
from genunlearn.engine.trainer import Trainer
from genunlearn.methods.general.grad_diff import GradDiff
from genunlearn.methods.lm.npo import NPO
from genunlearn.ops.logprobs import IGNORE

VOCAB = 49152
ITEMS = 400
"""Of each side."""
RESAMPLES = 2000


@dataclass(frozen=True)
class Shape:
    """A Llama: its sizes, what it is trained in, and where."""

    width: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    vocab: int
    dtype: torch.dtype
    is_tied: bool = True
    opening: int = 0
    """Tokens with which all prompts begin, as they do behind a chat template."""

    def config(self) -> LlamaConfig:
        """As transformers takes it."""
        return LlamaConfig(
            vocab_size=self.vocab,
            hidden_size=self.width,
            intermediate_size=self.inner,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            max_position_embeddings=2048,
            tie_word_embeddings=self.is_tied,
            bos_token_id=1,
            eos_token_id=2,
        )


SHAPES = {
    "tiny": Shape(64, 192, 2, 4, 2, VOCAB, torch.float32),
    "small": Shape(256, 768, 4, 4, 2, VOCAB, torch.float32),
    "135m": Shape(576, 1536, 30, 9, 3, VOCAB, torch.bfloat16, opening=24),  # SmolLM2, and its template's opening
    "1b": Shape(2048, 8192, 16, 32, 8, 128256, torch.bfloat16),
    "8b": Shape(4096, 14336, 32, 32, 8, 128256, torch.bfloat16, is_tied=False),
}
CASES: dict[str, tuple[Callable[[], NPO | GradDiff], Literal["lora", "full"]]] = {
    "NPO, full": (lambda: NPO(reduction="tokens"), "full"),
    "NPO, LoRA": (lambda: NPO(reduction="tokens"), "lora"),
    "GradDiff, full": (lambda: GradDiff(reduction="tokens"), "full"),
}


class DrawnTurns:
    """Stands in for a tokenizer and its chat format: ids are drawn, as many as TOFU's texts have tokens.

    Questions of TOFU have 45.5 tokens (deviation 4.0, template included) and answers 34.3 (12.0) in the tokens of
    SmolLM2, whose vocabulary has 49,152.
    """

    pad_token_id, bos_token_id, eos_token_id, chat_template = 0, 1, 2, None

    def __init__(self, shape: Shape) -> None:
        self._vocab = shape.vocab
        self._opening = self._draw(random.Random(0), shape.opening)

    def turn(self, messages: Sequence[dict[str, str]], answer: str) -> Turn:
        """Ids of a question and its answer, each a function of its text."""
        question = messages[-1]["content"]
        asked, told = random.Random(question), random.Random(f"{question} {answer}")
        prompt = self._draw(asked, min(65, max(35, round(asked.gauss(45.5, 4.0)))))
        prompt[: len(self._opening)] = self._opening
        length = min(83, max(9, round(told.lognormvariate(3.47, 0.376))))
        return Turn(prompt, [*self._draw(told, length - 1), self.eos_token_id], 1)

    def _draw(self, draw: random.Random, count: int) -> list[int]:
        return [draw.randrange(3, self._vocab) for _ in range(count)]


class StepTimes:
    """A watcher that notes when each step of a training phase ends."""

    def __init__(self, device: torch.device) -> None:
        self.ends: list[float] = []
        self._device = device

    def announce(self, message: str) -> None:
        """Nothing is said."""

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Callable[..., None]]:
        """Takes the place of a progress bar."""
        self.ends = []
        yield lambda **_: self.ends.append(now(self._device))

    def seconds(self) -> list[float]:
        """Of every step but the first."""
        return [b - a for a, b in pairwise(self.ends)]


def now(device: torch.device) -> float:
    """The time once `device` has done what it was given; on the CPU that of the process, whatever else runs there."""
    if device.type != "cuda":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def build(shape: Shape, device: torch.device) -> LanguageModel:
    """A model with random weights, the same each time."""
    torch.manual_seed(0)
    with torch.device(device):
        module = LlamaForCausalLM(shape.config()).eval().to(dtype=shape.dtype)
    model = LanguageModel(module, DrawnTurns(shape))
    model.chat = DrawnTurns(shape)  # type: ignore[assignment]
    return model


def splits() -> Splits:
    """Questions that are told apart by their numbers."""
    sides = {
        side: [QA(id=f"{side}{n}", question=f"{side}{n}", answer="-") for n in range(ITEMS)]
        for side in ("forget", "retain")
    }
    return Splits(**sides)


def ours(case: str, shape: Shape, settings: TrainConfig, device: torch.device) -> tuple[list[float], list[float]]:
    """Seconds of steps, and the loss of each, as this package trains."""
    make, kind = CASES[case]
    model, times = build(shape, device), StepTimes(device)
    method = make()
    trainer = Trainer(model, settings, ParametersConfig(kind=kind, rank=16), seed=0, watch=times)
    trainer(method, splits())
    return times.seconds(), [entry["loss"] for entry in trainer.history]


def plain(case: str, shape: Shape, settings: TrainConfig, device: torch.device) -> tuple[list[float], list[float]]:
    """The same by the plain loop."""
    make, kind = CASES[case]
    model = build(shape, device)
    reference = copy.deepcopy(model.module) if case.startswith("NPO") else None
    parameters.attach(model, ParametersConfig(kind=kind, rank=16), derive_seed(0, "lora", 0))
    network, method = model.module.train(), make()
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    batches = PairedBatches(splits(), settings.batch_size, 1, derive_seed(0, "phase", 0))
    ends, losses = [], []
    for step in range(settings.max_steps):
        (rows,) = batches.window(step)
        forget, retain = (padded(model, rows[side], device) for side in ("forget", "retain"))
        optimizer.zero_grad()
        if reference is not None and isinstance(method, NPO):
            with torch.no_grad():
                before = answer_nll(reference, forget)
            margin = answer_nll(network, forget) - before
            loss = (-2 / method.beta * F.logsigmoid(method.beta * margin)).mean() + token_mean(network, retain)
        else:
            loss = -token_mean(network, forget) + token_mean(network, retain)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, settings.max_grad_norm)
        optimizer.step()
        losses.append(loss.item())
        ends.append(now(device))
    return [b - a for a, b in pairwise(ends)], losses


def padded(model: LanguageModel, items: Sequence[QA], device: torch.device) -> dict[str, Tensor]:
    """A batch as collators make it: padded to the longest on the right."""
    turns = [model.encode(item.question, item.answer) for item in items]
    width = max(len(prompt) + len(answer) for prompt, answer in turns)
    ids = torch.zeros(len(turns), width, dtype=torch.long)
    labels, mask = torch.full_like(ids, IGNORE), torch.zeros_like(ids)
    for row, (prompt, answer) in enumerate(turns):
        length = len(prompt) + len(answer)
        ids[row, :length] = torch.tensor(prompt + answer)
        labels[row, len(prompt) : length] = torch.tensor(answer)
        mask[row, :length] = 1
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device), "labels": labels.to(device)}


def answer_nll(network: Any, batch: dict[str, Tensor]) -> Tensor:
    """Negative log-probability of each answer, from logits of all positions in float32."""
    logits = network(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.float()
    flat = F.cross_entropy(
        logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten(), ignore_index=IGNORE, reduction="none"
    )
    return flat.view(len(logits), -1).sum(-1)


def token_mean(network: Any, batch: dict[str, Tensor]) -> Tensor:
    """The library's own loss."""
    return network(**batch).loss


@dataclass
class Measured:
    """What the turns of one way came to."""

    seconds: list[float]
    losses: list[float]
    peak: float = 0.0

    def median(self) -> tuple[float, float, float]:
        """Median of the seconds, and the 95% interval of it."""
        draw = random.Random(0)
        medians = sorted(statistics.median(draw.choices(self.seconds, k=len(self.seconds))) for _ in range(RESAMPLES))
        return statistics.median(self.seconds), medians[int(0.025 * RESAMPLES)], medians[int(0.975 * RESAMPLES)]


def in_turns(case: str, shape: Shape, settings: TrainConfig, turns: int, device: torch.device) -> dict[str, Measured]:
    """Both ways, `turns` times each, one after the other."""
    found = {"ours": Measured([], []), "plain": Measured([], [])}
    for _ in range(turns):
        for name, way in (("ours", ours), ("plain", plain)):
            gc.collect()
            if device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats(device)
            seconds, losses = way(case, shape, settings, device)
            found[name].seconds += seconds
            found[name].losses = losses
            if device.type == "cuda":
                found[name].peak = max(found[name].peak, torch.cuda.max_memory_allocated(device) / 2**30)
    return found


def operations(shape: Shape, settings: TrainConfig, kind: str) -> float:
    """Floating-point operations a step that the model asks for: mean over the steps."""
    turns = DrawnTurns(shape)
    batches = PairedBatches(splits(), settings.batch_size, 1, derive_seed(0, "phase", 0))
    kv = shape.width * shape.kv_heads // shape.heads
    layer = 2 * shape.width * shape.width + 2 * shape.width * kv + 3 * shape.width * shape.inner
    total = 0.0
    for step in range(settings.max_steps):
        (rows,) = batches.window(step)
        drawn = [
            turns.turn([{"role": "user", "content": item.question}], "-") for items in rows.values() for item in items
        ]
        tokens, answers = sum(len(t.prompt) + len(t.answer) for t in drawn), sum(len(t.answer) for t in drawn)
        forward = 2 * (tokens * shape.layers * layer + answers * shape.width * shape.vocab)
        total += forward * (3 if kind == "full" else 2)  # frozen weights have no gradient of their own
    return total / settings.max_steps


def ceiling(device: torch.device, side: int = 8192, times: int = 20) -> float:
    """Floating-point operations a second that matrices in bfloat16 reach on a GPU: the median of `times` products."""
    left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    seconds = []
    for _ in range(times):
        start = now(device)
        left @ right
        seconds.append(now(device) - start)
    return 2 * side**3 / statistics.median(seconds)


def row(case: str, name: str, settings: TrainConfig, turns: int, device: torch.device, most: float | None) -> list[str]:
    """One line of the table; `most`: operations a second that the device reaches, None where that is not measured."""
    shape = SHAPES[name]
    found = in_turns(case, shape, settings, turns, device)
    (mine, *mine_ends), (theirs, *their_ends) = found["ours"].median(), found["plain"].median()
    apart = max(abs(a - b) for a, b in zip(found["ours"].losses, found["plain"].losses, strict=True))
    scale = math.log(shape.vocab)  # the loss a token of random weights, on either side
    speed = operations(shape, settings, CASES[case][1]) / mine
    share = f" ({speed / most:.0%})" if most else ""
    peaks = " / ".join(f"{found[way].peak:.1f}" for way in ("ours", "plain")) if device.type == "cuda" else "-"
    return [
        f"{name}, {case}, {settings.batch_size}",
        f"{mine:.3f} [{mine_ends[0]:.3f}, {mine_ends[1]:.3f}]",
        f"{theirs:.3f} [{their_ends[0]:.3f}, {their_ends[1]:.3f}]",
        f"{theirs / mine:.1f}",
        f"{speed / 1e12:.3g}{share}",
        peaks,
        f"{apart / scale:.1g}",
    ]


COLUMNS = (
    "shape, method, batch a side",
    "ours s/step",
    "plain loop s/step",
    "ratio",
    "model TFLOP/s",
    "peak GiB, ours / plain",
    "losses apart",
)


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--batch", type=int, default=16, help="items of each side in a step")
    parser.add_argument("--steps", type=int, default=6, help="steps of a turn")
    parser.add_argument("--turns", type=int, default=3, help="turns of each way")
    parser.add_argument("--case", choices=CASES, action="append", help="by default all")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--write", type=Path, help="a page with a block `lm_train SHAPE`")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    settings = TrainConfig(
        learning_rate=1e-5, batch_size=arguments.batch, max_steps=arguments.steps, save_every=arguments.steps + 1
    )
    most = ceiling(device) if device.type == "cuda" else None
    rows = []
    for case in arguments.case or CASES:
        rows.append(row(case, arguments.shape, settings, arguments.turns, device, most))
        print(" | ".join(rows[-1]), flush=True)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    beside = f", whose ceiling is {most / 1e12:.0f} TFLOP/s" if most else ""
    text = f"{table(COLUMNS, rows)}\n\nOn {where}{beside}, torch {torch.__version__}, {arguments.turns} turns."
    print(text)
    if arguments.write:
        replace_block(arguments.write, f"lm_train {arguments.shape}", text)


if __name__ == "__main__":
    main()
