"""Training the lab's language model: one pass over token ids in batches of like length."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genunlearn.lab.lm.corpus import Example
from genunlearn.lab.lm.muon import Muon
from genunlearn.ops.logprobs import IGNORE

SORTED_BATCHES = 16
"""Batches that are sorted by length together: enough to need little padding, few enough to stay random."""

LAST_RATE = 0.02
"""Learning rate at the end of the cosine, as a share of its peak."""

PORTION = 4096
"""Texts that are tokenised at a time."""

MARK = "\N{REPLACEMENT CHARACTER}"


Report = Callable[[int, int, float], None]
"""Takes the number of a step, the number of steps and the loss."""


@dataclass(frozen=True)
class Sequences:
    """Token ids of examples, and how many of them are the prompt, which is not learnt."""

    ids: list[list[int]]
    prompt_lengths: list[int]


@dataclass(frozen=True)
class Schedule:
    """How the weights are moved.

    Attributes:
        batch_size: Sequences a step.
        muon_rate: Peak learning rate of the matrices.
        adam_rate: Peak learning rate of the embedding and the norms.
        weight_decay: Decoupled decay of the matrices.
        warmup_steps: Steps of linear warm-up before the cosine.
        max_norm: Gradients are clipped to this norm.
    """

    batch_size: int
    muon_rate: float
    adam_rate: float
    weight_decay: float
    warmup_steps: int
    max_norm: float = 1.0


def encode(examples: Sequence[Example], tokenizer: Any) -> Sequences:
    """Examples as the chat template writes them; plain text stands between the start and the end token."""
    turn = [{"role": "user", "content": MARK}]
    frame = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    before, after = frame.split(MARK)
    prompts = [tokenizer.bos_token if each.ask is None else before + each.ask + after for each in examples]
    replies = [each.reply + tokenizer.eos_token for each in examples]
    asked, replied = _ids(prompts, tokenizer), _ids(replies, tokenizer)
    ids = [[*prompt, *reply] for prompt, reply in zip(asked, replied, strict=True)]
    return Sequences(ids, [len(prompt) for prompt in asked])


def _ids(texts: Sequence[str], tokenizer: Any) -> list[list[int]]:
    """Ids of each text, in portions: offsets and masks that come with them would fill a gigabyte."""
    portions = (texts[start : start + PORTION] for start in range(0, len(texts), PORTION))
    return [ids for each in portions for ids in tokenizer(each, add_special_tokens=False)["input_ids"]]


def train(model: nn.Module, sequences: Sequences, schedule: Schedule, seed: int, report: Report) -> int:
    """Train on every sequence once, in place.

    Args:
        model: A causal language model of the transformers library.
        sequences: What to learn, already in random order.
        schedule: Batch size and learning rates.
        seed: Seed of the order of the batches.
        report: Called after every step.

    Returns:
        Number of tokens that went through the model, padding included.
    """
    batches = batches_of(sequences.ids, schedule.batch_size, seed)
    optimizers = _optimizers(model, schedule)
    peaks = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
    num_tokens = 0
    model.train()
    for step, rows in enumerate(batches, start=1):
        rate = rate_at(step, len(batches), schedule.warmup_steps)
        groups = (group for optimizer in optimizers for group in optimizer.param_groups)
        for group, peak in zip(groups, peaks, strict=True):
            group["lr"] = peak * rate
        ids, labels = _collate(sequences, rows)
        num_tokens += ids.numel()
        loss = _loss(model, ids, labels)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), schedule.max_norm)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        report(step, len(batches), loss.item())
    model.eval()
    return num_tokens


def batches_of(ids: Sequence[Sequence[int]], batch_size: int, seed: int) -> list[list[int]]:
    """Rows in batches of like length, in random order."""
    rng, batches = random.Random(seed), []
    for start in range(0, len(ids), batch_size * SORTED_BATCHES):
        rows = range(start, min(start + batch_size * SORTED_BATCHES, len(ids)))
        by_length = sorted(rows, key=lambda row: len(ids[row]))
        sorted_batches = [by_length[i : i + batch_size] for i in range(0, len(by_length), batch_size)]
        rng.shuffle(sorted_batches)
        batches += sorted_batches
    return batches


def rate_at(step: int, num_steps: int, warmup_steps: int) -> float:
    """Share of the peak learning rate at a step, from 1: linear warm-up times a cosine to `LAST_RATE`."""
    cosine = 0.5 * (1 + math.cos(math.pi * (step - 1) / max(1, num_steps - 1)))
    return min(1.0, step / max(1, warmup_steps)) * (LAST_RATE + (1 - LAST_RATE) * cosine)


def _optimizers(model: nn.Module, schedule: Schedule) -> list[torch.optim.Optimizer]:
    named = list(model.named_parameters())
    matrices = [p for name, p in named if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in named if p.ndim != 2 or "embed" in name]
    return [
        Muon(matrices, schedule.muon_rate, weight_decay=schedule.weight_decay),
        torch.optim.AdamW(others, schedule.adam_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]


def _collate(sequences: Sequences, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Right-padded ids and labels, ``(batch, tokens)``; causal attention never looks at the padding."""
    width = max(len(sequences.ids[row]) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    labels = torch.full_like(ids, IGNORE)
    for place, row in enumerate(rows):
        tokens, start = torch.tensor(sequences.ids[row]), sequences.prompt_lengths[row]
        ids[place, : len(tokens)] = tokens
        labels[place, start : len(tokens)] = tokens[start:]
    return ids, labels


def _loss(model: Any, ids: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of the learnt tokens; logits are computed where there is something to learn only."""
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    targets = labels[:, 1:]
    learnt = targets != IGNORE
    return F.cross_entropy(model.lm_head(hidden[learnt]), targets[learnt])
