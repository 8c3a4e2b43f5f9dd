#!/usr/bin/env python
"""Seconds of the ratings of a TOFU evaluation, beside the way in which evaluation code commonly takes them.

    python scripts/bench/lm_eval.py                       # a tenth of each set, a tiny Llama on the CPU, a minute
    python scripts/bench/lm_eval.py --shape 1b --share 1  # CUDA, bfloat16
    python scripts/bench/lm_eval.py --write docs/performance.md

Rated are the true answer, its other wording and the wrong ones of TOFU's four sets, for five metrics: probability,
truth ratio, probability among the options, exact memorisation and extraction strength. The common way goes over the
data once for each metric, in the order of the files, in batches padded to the longest, with float32 logits of all
positions; here each text is rated once, whichever metrics ask. Generation for ROUGE is left out: both ways need the
same texts. Ids are drawn, as many as TOFU's texts have tokens; weights are random.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from lm_train import SHAPES, build, now, padded
from markdown_blocks import replace_block, table
from torch import Tensor

from genunlearn.data.lm.facts import QA, Contrast
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.evaluation.lm.benchmark import BenchmarkProbes
from genunlearn.ops.logprobs import IGNORE, answer_logprobs, exact_memorisation, extraction_strength
from genunlearn.ops.truth_ratio import option_probability, truth_ratio

SETS = {"forget": (400, 5), "retain": (400, 5), "real_authors": (100, 3), "world_facts": (117, 3)}
"""Questions, and wrong answers to each, of TOFU's forget10 evaluation."""
BATCH = 32
METRICS = ("probabilities", "truth_ratios", "option_probabilities", "exact_memorisation", "extraction")
Values = dict[str, dict[str, list[float]]]


def questions(share: float) -> dict[str, list[QA]]:
    """The sets, or a share of each; texts are names for what is drawn."""
    return {
        name: [
            Contrast(
                id=f"{name}{n}",
                question=f"{name}{n}",
                answer="true",
                paraphrase="same",
                wrong=tuple(f"wrong {i}" for i in range(wrong)),
            )
            for n in range(math.ceil(share * count))
        ]
        for name, (count, wrong) in SETS.items()
    }


def ours(model: LanguageModel, sets: dict[str, list[QA]]) -> Values:
    """The metrics as this package takes them."""
    probes = BenchmarkProbes(model, sets)
    extraction = {name: scored.extraction for name, scored in probes.scored.items()}
    return {name: getattr(probes, name) for name in METRICS[:-1]} | {"extraction": extraction}


def plain(model: LanguageModel, sets: dict[str, list[QA]]) -> tuple[Values, int]:
    """The same one metric after another, and how many sequences that rates."""
    values: Values = {metric: {} for metric in METRICS}
    rated = 0

    def rate(texts: Sequence[tuple[str, str]]) -> list[tuple[Tensor, Tensor]]:
        nonlocal rated
        rated += len(texts)
        return [row for start in range(0, len(texts), BATCH) for row in batch(model, texts[start : start + BATCH])]

    for name, items in sets.items():
        true = [(item.question, item.answer) for item in items]
        values["probabilities"][name] = [logprobs.mean().exp().item() for logprobs, _ in rate(true)]
        values["exact_memorisation"][name] = [share(exact_memorisation, right[:-1]) for _, right in rate(true)]
        values["extraction"][name] = [share(extraction_strength, right[:-1]) for _, right in rate(true)]
        for metric, first in (("truth_ratios", 1), ("option_probabilities", 0)):
            pairs = [item.pairs for item in items if isinstance(item, Contrast)]
            one = [-logprobs.mean().item() for logprobs, _ in rate([texts[first] for texts in pairs])]
            wrong = iter([-logprobs.mean().item() for logprobs, _ in rate([t for texts in pairs for t in texts[2:]])])
            ratio = truth_ratio if metric == "truth_ratios" else option_probability
            values[metric][name] = [
                ratio(loss, [next(wrong) for _ in texts[2:]]) for loss, texts in zip(one, pairs, strict=True)
            ]
    return values, rated


@torch.no_grad()
def batch(model: LanguageModel, texts: Sequence[tuple[str, str]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Log-probability of each answer's tokens, and whether they are the likeliest."""
    items = [QA(id=str(n), question=question, answer=answer) for n, (question, answer) in enumerate(texts)]
    tensors = padded(model, items, model.device)
    logits = model.module(input_ids=tensors["input_ids"], attention_mask=tensors["attention_mask"]).logits.float()
    labels = tensors["labels"]
    logprobs, wanted = answer_logprobs(logits, labels).cpu(), labels[:, 1:]
    right = (logits[:, :-1].argmax(-1) == wanted).cpu()
    for row, counted in enumerate((wanted != IGNORE).cpu()):
        yield logprobs[row][counted], right[row][counted]


def share(measure: Any, right: Tensor) -> float:
    """A share of tokens of one answer."""
    return measure(right[None], torch.ones_like(right)[None]).item()


def apart(mine: Values, theirs: Values) -> float:
    """The largest difference of two values of the same metric, set and question."""
    return max(
        abs(a - b)
        for metric in METRICS
        for name in theirs[metric]
        for a, b in zip(mine[metric][name], theirs[metric][name], strict=True)
    )


COLUMNS = ("shape, questions", "ours: rated", "s", "one pass a metric: rated", "s", "ratio", "values apart")


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--share", type=float, default=0.1, help="of each set")
    parser.add_argument("--turns", type=int, default=3, help="turns of each way, one after the other")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--write", type=Path, help="a page with a block `lm_eval SHAPE`")
    arguments = parser.parse_args()
    device, sets = torch.device(arguments.device), questions(arguments.share)
    model = build(SHAPES[arguments.shape], device)
    ours(model, questions(0.001))  # libraries warm up
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(arguments.turns):
        start = now(device)
        mine = ours(model, sets)
        middle = now(device)
        theirs, rated = plain(model, sets)
        seconds[0].append(middle - start)
        seconds[1].append(now(device) - middle)
    distinct = sum(len(item.pairs) for items in sets.values() for item in items if isinstance(item, Contrast))
    ours_s, theirs_s = (statistics.median(each) for each in seconds)
    spread = [f"{statistics.median(each):.2f} [{min(each):.2f}, {max(each):.2f}]" for each in seconds]
    count = sum(map(len, sets.values()))
    row = [f"{arguments.shape}, {count}", f"{distinct:,}", spread[0], f"{rated:,}", spread[1]]
    row += [f"{theirs_s / ours_s:.1f}", f"{apart(mine, theirs):.1g}"]
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    note = f"On {where}, torch {torch.__version__}: median of {arguments.turns} turns, and range."
    text = f"{table(COLUMNS, [row])}\n\n{note}"
    print(text)
    if arguments.write:
        replace_block(arguments.write, f"lm_eval {arguments.shape}", text)


if __name__ == "__main__":
    main()
