"""Log-probabilities of many answers to many questions; every prompt is read once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from genunlearn.data.lm.facts import QA
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.domains.lm.precision import rounded_adapters
from genunlearn.domains.lm.prefix import can_share
from genunlearn.ops.evaluation_mode import evaluating
from genunlearn.ops.logprobs import last_positions

ROWS, LOGITS = 1024, 2**26
"""Answers in one forward pass, and logits of theirs, at most."""


@torch.no_grad()
def answer_table(model: LanguageModel, questions: Sequence[str], answers: Sequence[str]) -> Tensor:
    """Log-probability of every answer, its end of turn included, after every question: ``(questions, answers)``."""
    pairs = [[model.encode(question, answer) for answer in answers] for question in questions]
    longest = max(len(answer) for row in pairs for _, answer in row)
    rows_at_once = min(ROWS, LOGITS // (longest * model.network.config.get_text_config().vocab_size))
    size = max(1, rows_at_once // len(answers))
    with evaluating(model.module), rounded_adapters(model.network):
        if can_share(model.network) and all(prompt == row[0][0] for row in pairs for prompt, _ in row):
            return torch.cat([_shared(model, pairs[start : start + size]) for start in range(0, len(pairs), size)])
        rows = []
        for question in questions:
            items = [QA(id=answer, question=question, answer=answer) for answer in answers]
            rows.append(-model.sequence_nll(model.collate(items)).cpu())
        return torch.stack(rows)


def _shared(model: LanguageModel, pairs: Sequence[Sequence[tuple[list[int], list[int]]]]) -> Tensor:
    """Prompts are read together, then all answers from the cache of their prompt."""
    from transformers import DynamicCache

    network, device = model.network, model.device
    prompts = [row[0][0] for row in pairs]
    width, longest = max(map(len, prompts)), max(len(answer) for row in pairs for _, answer in row)
    # prompts end and answers begin in the same column
    ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts], device=device)
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
    cache = DynamicCache(config=network.config)
    positions = (mask.cumsum(-1) - 1).clamp_min(0)
    first = network(
        input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True,
        logits_to_keep=last_positions(1, device),
    ).logits  # fmt: skip
    count = len(pairs[0])
    cache.batch_repeat_interleave(count)
    labels = torch.tensor(
        [answer + [-1] * (longest - len(answer)) for row in pairs for _, answer in row], device=device
    )
    logits = first.repeat_interleave(count, 0)
    if longest > 1:
        begun = labels[:, :-1].clamp_min(0)
        whole = torch.cat([mask.repeat_interleave(count, 0), torch.ones_like(begun)], 1)
        places = positions[:, -1:].repeat_interleave(count, 0) + torch.arange(1, longest, device=device)
        rest = network(
            input_ids=begun, attention_mask=whole, position_ids=places, past_key_values=cache, use_cache=True
        ).logits
        logits = torch.cat([logits, rest], 1)
    model.meter.forwards += 2
    model.meter.tokens_scored += int(mask.sum()) + int((labels >= 0).sum())
    chosen = logits.float().log_softmax(-1).gather(-1, labels.clamp_min(0).unsqueeze(-1)).squeeze(-1)
    return torch.where(labels >= 0, chosen, 0.0).sum(-1).view(len(pairs), count).cpu()
