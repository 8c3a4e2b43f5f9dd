"""Log-probabilities of answer tokens.

Shapes: ``batch`` sequences of ``tokens`` positions over a ``vocab``; ``IGNORE`` marks label positions that do not
count (prompt and padding).
"""

from __future__ import annotations

import torch
from torch import Tensor

IGNORE = -100


def answer_logprobs(logits: Tensor, labels: Tensor) -> Tensor:
    """Log-probability of each label token, 0 where the label is ignored.

    Args:
        logits: ``(batch, tokens, vocab)``; position t predicts label t + 1. It may hold only the last positions of
            the sequence: the two are aligned at their ends.
        labels: ``(batch, tokens)``, `IGNORE` where nothing is to be predicted.

    Returns:
        ``(batch, tokens - 1)`` in float32.
    """
    kept = logits.shape[1]
    targets = labels[:, -kept:][:, 1:]
    logits = logits[:, :-1].float()
    mask = targets != IGNORE
    chosen = logits.gather(-1, targets.clamp_min(0).unsqueeze(-1)).squeeze(-1)
    return torch.where(mask, chosen - logits.logsumexp(-1), 0.0)


def answer_lengths(labels: Tensor) -> Tensor:
    """Number of answer tokens of each sequence, ``(batch,)``."""
    return (labels[:, 1:] != IGNORE).sum(-1)


def extraction_strength(correct: Tensor, mask: Tensor) -> Tensor:
    """Share of each answer that follows by itself: ``1 - k / length``.

    ``k`` is the length of the shortest prefix after which every token is the argmax.

    Args:
        correct: ``(batch, tokens)`` bool, whether the argmax equals the label.
        mask: ``(batch, tokens)`` bool, which positions are answer tokens.

    Returns:
        ``(batch,)`` in [0, 1]; sequences without answer tokens give 0.
    """
    wrong = (mask & ~correct).int()
    tail_is_right = wrong.flip(-1).cumsum(-1).flip(-1) == 0
    length = mask.sum(-1)
    return (tail_is_right & mask).sum(-1) / length.clamp_min(1)


def exact_memorisation(correct: Tensor, mask: Tensor) -> Tensor:
    """Share of each answer's tokens that are the argmax once those before them are given.

    Source: Tirumala et al., "Memorization Without Overfitting" (NeurIPS 2022).

    Args:
        correct: ``(batch, tokens)`` bool, whether the argmax equals the label.
        mask: ``(batch, tokens)`` bool, which positions are answer tokens.

    Returns:
        ``(batch,)`` in [0, 1]; sequences without answer tokens give 0.
    """
    return (correct & mask).sum(-1) / mask.sum(-1).clamp_min(1)


def last_positions(count: int, device: torch.device) -> Tensor:
    """The last `count` positions of a sequence, for ``logits_to_keep`` of transformers.

    An index and no number: from a number it makes a slice, and torch multiplies a slice of several sequences by a
    frozen output layer through one copy of the whole layer for each sequence.

    Returns:
        ``(count,)``, counted from the end.
    """
    return torch.arange(-count, 0, device=device)
