"""Losses of the single tokens of answers.

Shapes: ``batch`` answers of at most ``answer`` tokens, ``vocab`` classes. Labels hold `IGNORE` where there is no token.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from genunlearn.ops.logprobs import IGNORE

EXCLUDED = -1e10
"""The logit of a token that a target leaves out; finite, so that a product with probability 0 stays 0."""


def answer_mean(values: Tensor, labels: Tensor) -> Tensor:
    """Mean over each answer's own tokens.

    Args:
        values: ``(batch, answer)``.
        labels: ``(batch, answer)``.

    Returns:
        ``(batch,)``; 0 for an answer without tokens.
    """
    counted = labels != IGNORE
    return torch.where(counted, values, 0.0).sum(-1) / counted.sum(-1).clamp_min(1)


def label_logprobs(logits: Tensor, labels: Tensor) -> Tensor:
    """Log-probability of every label, 0 where there is none.

    Args:
        logits: ``(batch, answer, vocab)`` at the positions that predict the labels.
        labels: ``(batch, answer)``.

    Returns:
        ``(batch, answer)`` in float32.
    """
    logits = logits.float()
    chosen = logits.gather(-1, labels.clamp_min(0)[..., None]).squeeze(-1) - logits.logsumexp(-1)
    return torch.where(labels != IGNORE, chosen, 0.0)


def cross_entropy(target_logits: Tensor, logits: Tensor) -> Tensor:
    """Cross-entropy of predictions against soft targets, ``-sum_v softmax(target)_v log softmax(logits)_v``.

    Args:
        target_logits: ``(..., vocab)``; no gradient flows into it.
        logits: ``(..., vocab)``.

    Returns:
        ``(...)`` in float32.
    """
    target = target_logits.detach().float().softmax(-1)
    return -(target * logits.float().log_softmax(-1)).sum(-1)


def uniform_cross_entropy(logits: Tensor) -> Tensor:
    """Cross-entropy of predictions against the uniform one, ``log sum_v exp z_v - mean_v z_v`` in nats.

    This is what the loss of a label drawn evenly from the vocabulary is on average, and at least ``log(vocab)``: what
    is above that is ``KL(uniform || prediction)``.

    Args:
        logits: ``(..., vocab)``.

    Returns:
        ``(...)`` in float32.
    """
    logits = logits.float()
    return logits.logsumexp(-1) - logits.mean(-1)


def shift_label(logits: Tensor, labels: Tensor, by: float) -> Tensor:
    """The same logits with `by` added to the label's one; where there is no label, to none.

    Args:
        logits: ``(batch, answer, vocab)``.
        labels: ``(batch, answer)``.
        by: What is added.
    """
    amount = torch.where(labels != IGNORE, by, 0.0).to(logits.dtype)
    return logits.scatter_add(-1, labels.clamp_min(0)[..., None], amount[..., None])


def best_other_logprob(logits: Tensor, labels: Tensor) -> Tensor:
    """Log-probability of the likeliest token that is not the label, ``(batch, answer)`` in float32."""
    logits = logits.float()
    others = logits.scatter(-1, labels.clamp_min(0)[..., None], EXCLUDED)
    return others.amax(-1) - logits.logsumexp(-1)


def one_hot_jensen_shannon(logprobs: Tensor) -> Tensor:
    """Jensen-Shannon divergence, in nats, of a prediction from certainty of one token.

    With q the token's probability and m the mean of both distributions,
    ``JS = (log(2 / (1 + q)) + q log(2 q / (1 + q)) + (1 - q) log 2) / 2``: 0 at q = 1, log 2 at q = 0.

    Args:
        logprobs: ``log q``, any shape.
    """
    q = logprobs.exp()
    from_certainty = math.log(2) - torch.log1p(q)
    from_prediction = q * (math.log(2) + logprobs - torch.log1p(q)) + (1 - q) * math.log(2)
    return (from_certainty + from_prediction) / 2


def preference_loss(margin: Tensor, beta: float) -> Tensor:
    """``-(2 / beta) log sigma(beta margin)``: falls with the margin at a slope of 1 at 0, and hardly far above it.

    Args:
        margin: By how much what is wanted is ahead, in nats, any shape.
        beta: Inverse temperature, above 0; towards 0 the loss is ``-margin`` and a constant.
    """
    return -2 / beta * logsigmoid(beta * margin)
