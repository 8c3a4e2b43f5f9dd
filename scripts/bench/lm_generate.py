#!/usr/bin/env python
"""Seconds of the answers of a language model, beside the way in which they were generated before.

    python scripts/bench/lm_generate.py                          # lab:smollm2 on the CPU, some ten minutes
    python scripts/bench/lm_generate.py --model lab:lm --questions 256
    python scripts/bench/lm_generate.py --lora --dtype bfloat16
    python scripts/bench/lm_generate.py --shape 1b --compile     # CUDA, bfloat16, random weights
    python scripts/bench/lm_generate.py --write docs/performance.md

Asked are questions about facts that the model knows. Before: transformers' own loop, sorted prompts, 128 sequences in
each batch, which goes on until the last of them has ended; every sample of a prompt reads it anew. Both take turns.
Printed are seconds (on the CPU those of the processor, which other programs disturb less; median of the turns, and
range), their ratio, and how many texts are the same. The last row asks only whether the answers tell the truth
(`genunlearn.data.lm.telling.recall`): there a text ends with the sentence that tells, and verdicts are compared.

With `--lora`, the model has a LoRA of rank 16 in every layer. Before, peft carried these layers out; all else is as now
(`genunlearn.domains.lm.direct_adapters`).

With `--shape`, a Llama of random weights writes 128 greedy answers of 48 tokens each: by transformers' loop, ours, and
with `--compile` in fixed shapes (`model.compile`), whose first call compiles on CUDA and counts apart.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from lm_train import SHAPES, now
from markdown_blocks import replace_block, table
from transformers import AutoTokenizer, LlamaForCausalLM

from genunlearn.config import ParametersConfig
from genunlearn.data.lm.facts import QA
from genunlearn.data.lm.telling import gives
from genunlearn.domains.lm import generation
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.engine import parameters
from genunlearn.lab.lm.build import build
from genunlearn.lab.lm.smollm2 import build as build_smollm2
from genunlearn.lab.lm.world_facts import world_of

BEFORE = 128
"""Sequences in a batch."""
SAMPLED: dict[str, Any] = {"samples": 8, "temperature": 1.0}
LORA = 1e-3
"""Spread of what stands for a LoRA's training."""
LENGTH = 48
"""Tokens of each answer of random weights."""
RANDOM_COLUMNS = ("greedy answers of 48 tokens", "tokens", "seconds", "tokens/s", "the same")
COLUMNS = ("what", "sequences", "before: s", "now: s", "ratio", "the same")
Way = Callable[[], list[Any]]


def questions(lab: str, count: int) -> list[QA]:
    """Questions about facts of the world of that lab, fact by fact."""
    world = world_of(lab)
    pairs = [(world.fact(triple.id), question) for triple in world.triples for question in world.questions(triple)]
    step = max(1, len(pairs) // count)
    return [
        QA(id=f"{fact.id}{n}", question=question, answer=fact.object, aliases=fact.aliases)
        for n, (fact, question) in enumerate(pairs[::step][:count])
    ]


def before(model: LanguageModel, asked: list[Any], **options: Any) -> list[list[str]]:
    """The texts by transformers' loop."""
    with mock.patch.object(generation, "is_plain", lambda network: False):
        return model.generate(asked, batch_size=BEFORE, **options)


def ways(model: LanguageModel, items: list[QA]) -> Iterator[tuple[str, int, Way, Way]]:
    """For each row its name, the number of sequences, and both ways to what is compared."""
    asked = [[{"role": "user", "content": item.question}] for item in items]
    until = [lambda text, item=item: gives(text, item) for item in items]

    def told(rows: list[list[str]]) -> list[bool]:
        return [gives(texts[0], item) for texts, item in zip(rows, items, strict=True)]

    def flat(rows: list[list[str]]) -> list[str]:
        return [text for texts in rows for text in texts]

    count = len(items)
    yield "greedy answers", count, lambda: flat(before(model, asked)), lambda: flat(model.generate(asked))
    yield (
        f"{SAMPLED['samples']} sampled answers each",
        count * SAMPLED["samples"],
        lambda: flat(before(model, asked, **SAMPLED)),
        lambda: flat(model.generate(asked, **SAMPLED)),
    )
    yield (
        "whether the truth is told",
        count,
        lambda: told(before(model, asked)),
        lambda: told(model.generate(asked, until=until)),
    )


def ways_with_lora(model: LanguageModel, items: list[QA]) -> Iterator[tuple[str, int, Way, Way]]:
    """The same with a LoRA: by peft before, and by its products alone now."""
    parameters.attach(model, ParametersConfig(rank=16, alpha=32), seed=0)
    asked = [item.question for item in items]

    def by_peft() -> list[str]:
        with mock.patch.object(generation, "direct_adapters", nullcontext):
            return model.answer(asked)

    yield "greedy answers, not trained yet", len(items), by_peft, lambda: model.answer(asked)
    with torch.no_grad():
        for weight in parameters.trainable(model.network).values():
            weight.add_(torch.randn_like(weight) * LORA)
    yield "greedy answers, trained", len(items), by_peft, lambda: model.answer(asked)


def random_model(shape: str, device: torch.device) -> LanguageModel:
    """Random weights that write words of the lab's tokenizer and never an end."""
    with torch.device(device):
        network = LlamaForCausalLM(SHAPES[shape].config()).eval().to(dtype=SHAPES[shape].dtype)
    tokenizer = AutoTokenizer.from_pretrained(build())
    network.generation_config.eos_token_id = None
    model = LanguageModel(network, tokenizer)
    head = torch.nn.Linear(network.config.hidden_size, network.config.vocab_size, bias=False)  # not the embedding's
    with torch.no_grad():
        head.weight[len(tokenizer) :] = 0
        head.weight[[*model.chat.marks.ids, *tokenizer.all_special_ids]] = 0
    network.lm_head = head.to(device, network.dtype)
    return model


def tokens_a_second(shape: str, count: int, device: torch.device, turns: int, is_compiled: bool) -> list[list[str]]:
    """Rows of the table for random weights: what each way takes for the same tokens."""
    model = random_model(shape, device)
    asked = [[{"role": "user", "content": item.question}] for item in questions("lm", count)][:count]
    plain = partial(before, model, asked, max_new_tokens=LENGTH)
    ours = partial(model.generate, asked, max_new_tokens=LENGTH)
    ways: dict[str, tuple[bool, Way]] = {"transformers' loop": (False, plain), "ours": (False, ours)}
    if is_compiled:
        ways |= {"fixed shapes, first call": (True, ours), "fixed shapes, then": (True, ours)}
    plain()  # libraries make their workspaces
    rows, texts = [], []
    for name, (model.is_compiled, way) in ways.items():
        start = model.meter.tokens_generated
        found = [seconds(way, device) for _ in range(1 if name.endswith("first call") else turns)]
        times, written = [took for took, _ in found], (model.meter.tokens_generated - start) // len(found)
        texts.append(found[-1][1])
        middle = statistics.median(times)
        equal = sum(a == b for a, b in zip(texts[0], texts[-1], strict=True))
        spread = f"{middle:.2f} [{min(times):.2f}, {max(times):.2f}]"
        rows.append([f"{name}", str(written), spread, f"{written / middle:,.0f}", f"{equal} of {len(asked)}"])
        print(" | ".join(rows[-1]), flush=True)
    return rows


def seconds(way: Way, device: torch.device) -> tuple[float, list[Any]]:
    """What a way takes, and what it gives."""
    start = now(device)
    found = way()
    return now(device) - start, found


def row(name: str, count: int, old: Way, new: Way, turns: int, device: torch.device) -> list[str]:
    """One line of the table."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(turns):
        took, theirs = seconds(old, device)
        times[0].append(took)
        took, mine = seconds(new, device)
        times[1].append(took)
    equal = sum(a == b for a, b in zip(theirs, mine, strict=True))
    spread = [f"{statistics.median(each):.1f} [{min(each):.1f}, {max(each):.1f}]" for each in times]
    ratio = statistics.median(times[0]) / statistics.median(times[1])
    return [name, str(count), *spread, f"{ratio:.1f}", f"{equal} of {len(mine)}"]


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("lab:smollm2", "lab:lm"), default="lab:smollm2")
    parser.add_argument("--shape", choices=SHAPES, help="random weights instead of a lab's")
    parser.add_argument("--compile", action="store_true", help="with --shape: fixed shapes too")
    parser.add_argument("--sequences", type=int, default=128, help="with --shape: answers")
    parser.add_argument("--questions", type=int, default=64)
    parser.add_argument("--lora", action="store_true", help="with a LoRA: by peft, and by its products alone")
    parser.add_argument("--dtype", default="auto", help="number format of a lab's weights")
    parser.add_argument("--turns", type=int, default=3, help="turns of each way, one after the other")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--write", type=Path, help="a page with a block `lm_generate LAB`, or `... LAB lora`")
    arguments = parser.parse_args()
    lab, device = arguments.model.removeprefix("lab:"), torch.device(arguments.device)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    if arguments.shape:
        shape, count = arguments.shape, arguments.sequences
        rows = tokens_a_second(shape, count, device, arguments.turns, arguments.compile)
        note = f"{shape} on {where}, torch {torch.__version__}: median of {arguments.turns} turns, and range."
        report(f"{table(RANDOM_COLUMNS, rows)}\n\n{note}", arguments.write, f"lm_generate {shape}")
        return
    folder = build_smollm2() if lab == "smollm2" else build()
    model = LanguageModel.load(str(folder), device=arguments.device, dtype=arguments.dtype)
    items = questions(lab, arguments.questions)
    rows = []
    for name, count, old, new in (ways_with_lora if arguments.lora else ways)(model, items):
        rows.append(row(name, count, old, new, arguments.turns, device))
        print(" | ".join(rows[-1]), flush=True)
    where = f"{str(model.network.dtype).removeprefix('torch.')} on {where}"
    note = f"{arguments.model} in {where}, torch {torch.__version__}: median of {arguments.turns} turns, and range."
    block = f"lm_generate {lab}{' lora' if arguments.lora else ''}"
    report(f"{table(COLUMNS, rows)}\n\n{note}", arguments.write, block)


def report(text: str, page: Path | None, block: str) -> None:
    """Print a table, and write it where asked."""
    print(text)
    if page:
        replace_block(page, block, text)


if __name__ == "__main__":
    main()
