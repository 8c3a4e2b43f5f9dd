"""Distances between predictions, one value per example, and between sets of weights.

Everything works on logits in log-space, so no probability is ever rounded to 0 before its logarithm is taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor

Reduction = Literal["batchmean", "mean"]
"""``batchmean`` sums over classes; ``mean`` also divides by their number, as some published code trains."""


def kl_divergence(
    target_logits: Tensor,
    logits: Tensor,
    *,
    temperature: float = 1.0,
    reduction: Reduction = "batchmean",
    counted: Tensor | None = None,
) -> Tensor:
    """KL(target || prediction) of each example, in nats.

    Args:
        target_logits: ``(batch, ..., classes)`` of the teacher; an entry of -1e10 stands for probability 0.
        logits: ``(batch, ..., classes)`` of the student.
        temperature: Divides both logits; no factor ``temperature ** 2`` is applied.
        reduction: The classes' sum (``batchmean``, the divergence itself) or their mean (``mean``).
        counted: ``(batch, ...)``, which positions count; by default all.

    Returns:
        ``(batch,)`` in float32; positions between the first and the last dimension are averaged.
    """
    target, predicted = (_cooled(each, temperature).log_softmax(-1) for each in (target_logits, logits))
    summed = (target.exp() * (target - predicted)).sum(-1)
    values = summed / logits.shape[-1] if reduction == "mean" else summed
    if values.dim() == 1:
        return values
    if counted is None:
        return values.flatten(1).mean(1)
    weight = counted.flatten(1).to(values.dtype)
    return (values.flatten(1) * weight).sum(1) / weight.sum(1).clamp_min(1)


def kl_divergences(target_logits: Tensor, predictions: Iterable[Tensor]) -> Tensor:
    """KL(target || each prediction), in nats; what depends on the target alone is worked out once.

    Args:
        target_logits: ``(..., classes)``; no gradient flows into it.
        predictions: Logits of the same shape, one set after the other.

    Returns:
        ``(..., predictions)`` in float32.
    """
    target = target_logits.detach().float().log_softmax(-1)
    shares = target.exp()
    entropy = -(shares * target).sum(-1)
    crossed = [-(shares * logits.float().log_softmax(-1)).sum(-1) for logits in predictions]
    return torch.stack(crossed, -1) - entropy[..., None]


def jensen_shannon(first: Tensor, second: Tensor) -> Tensor:
    """Jensen-Shannon divergence of two predictions given as logits, in bits.

    Args:
        first: ``(..., classes)`` logits.
        second: ``(..., classes)`` logits.

    Returns:
        ``(...)`` in [0, 1]: 0 for equal predictions, 1 for predictions without a common class.
    """
    p, q, mixture = _with_mixture(first, second)
    nats = (p.exp() * (p - mixture) + q.exp() * (q - mixture)).sum(-1) / 2
    return nats / math.log(2.0)


def jensen_shannon_authors(first: Tensor, second: Tensor) -> Tensor:
    """The "JS divergence" of the bad-teaching code: reversed KL in nats, divided by the classes.

    It is ``(KL(m || p) + KL(m || q)) / (2 classes)`` with ``m = (p + q) / 2``: unbounded, and not a
    Jensen-Shannon divergence; kept because the published ZRF scores were computed with it.

    Args:
        first: ``(batch, classes)`` logits.
        second: ``(batch, classes)`` logits.

    Returns:
        ``(batch,)``, at least 0.
    """
    p, q, mixture = _with_mixture(first, second)
    return (mixture.exp() * (2 * mixture - p - q)).sum(-1) / (2 * first.shape[-1])


def squared_distance(weights: Mapping[str, Tensor], anchors: Mapping[str, Tensor]) -> Tensor:
    """Squared Euclidean distance between two sets of weights of the same names, a scalar."""
    parts = [(weight - anchors[name]).float().square().sum() for name, weight in weights.items()]
    return torch.stack(parts).sum()


def _cooled(logits: Tensor, temperature: float) -> Tensor:
    """Logits in float32, divided by the temperature; at 1, a pass over them that nothing would come of is left out."""
    return logits.float() if temperature == 1 else logits.float() / temperature


def _with_mixture(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    p, q = first.float().log_softmax(-1), second.float().log_softmax(-1)
    return p, q, torch.logaddexp(p, q) - math.log(2.0)
