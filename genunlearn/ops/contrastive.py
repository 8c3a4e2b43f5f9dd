"""Losses that compare embeddings by their labels, and a teacher's answers by how sure of them it is.

Embeddings have length 1; what attracts an embedding are those of the same label, and what repels it are all others.
"""

from __future__ import annotations

import torch
from torch import Tensor


def supervised_contrastive(
    embeddings: Tensor,
    labels: Tensor,
    *,
    others: Tensor | None = None,
    other_labels: Tensor | None = None,
    temperature: float = 0.1,
) -> Tensor:
    """How far each embedding is from those of its own label, among all that it is compared with.

    ``-1 / |P(i)| * sum_{p in P(i)} log( exp(z_i . v_p / T) / sum_{a in A(i)} exp(z_i . v_a / T) )``, where A(i) is all
    that i is compared with and P(i) those of A(i) with i's label.

    Source: Khosla et al., "Supervised Contrastive Learning" (NeurIPS 2020), eq. 2. With `others` from a teacher it is
    the contrastive distillation of online contrastive distillation networks.

    Args:
        embeddings: ``(batch, d)``, of length 1.
        labels: ``(batch,)``.
        others: ``(others, d)``, what the embeddings are compared with; by default each other, but not itself.
        other_labels: ``(others,)``.
        temperature: T.

    Returns:
        ``(batch,)`` in float32; 0 for an embedding that meets nothing of its label.
    """
    candidates = embeddings if others is None else others
    of = labels if other_labels is None else other_labels
    similar = embeddings.float() @ candidates.float().T / temperature
    is_met = torch.ones_like(similar, dtype=torch.bool)
    if others is None:
        is_met.fill_diagonal_(False)
    is_positive = (labels[:, None] == of[None]) & is_met
    # A batch of one meets nothing: the logarithm of an empty sum is never looked at, and must not be NaN.
    logs = similar - similar.masked_fill(~is_met, torch.finfo(similar.dtype).min).logsumexp(1, keepdim=True)
    count = is_positive.sum(1)
    return -(logs * is_positive).sum(1) / count.clamp_min(1)


def confidence_weighted_distance(
    logits: Tensor, teacher_logits: Tensor, labels: Tensor, *, temperature: float = 1.0, is_mean: bool = False
) -> Tensor:
    """Squared distance of logits from a teacher's, weighted by the probability that the teacher gives the true class.

    ``w_i * || s_i - t_i ||^2`` with ``w_i = softmax(t_i / T)[y_i]``.

    Args:
        logits: ``(batch, classes)`` of the student.
        teacher_logits: ``(batch, classes)``.
        labels: ``(batch,)``, the true classes.
        temperature: T, for the weight alone.
        is_mean: Divide by the number of classes, as a mean squared error does.

    Returns:
        ``(batch,)`` in float32.
    """
    weight = (teacher_logits.float() / temperature).softmax(1).gather(1, labels[:, None])[:, 0]
    squares = (logits.float() - teacher_logits.float()).square()
    return weight * (squares.mean(1) if is_mean else squares.sum(1))
