"""Is a concept gone or hidden: where completed images stand between two models, and what of that an oracle explains.

With phi the L2-normalised features of a classifier that tells images of the original (o in O) from images of the
unlearned model (u in U), and x_psi an image begun by the one and ended by the other:

    d(a, b)   = (1 - arctan <phi(a), phi(b)>) / (pi / 2)
    m(psi)    = mean_u d(x_psi, u) - mean_o d(x_psi, o)              the signed margin, positive nearer to the original
    Delta     = mean_psi |m(psi)|
    CRS       = Delta for a prompt that is to be forgotten, 1 - Delta for one that is to stay
    CCS       = mean_psi P(original | x_psi)
    leak(psi) = (S_unlearned - S_oracle) / (S_original - S_oracle)   S the score of the concept in completed images

Because of the absolute value, Delta is large near either model; the margin tells them apart. The leak is 0 for a model
whose completions show no more of the concept than an oracle's, and 1 for the original.

Source of the distance, Delta, CRS and CCS: Sharma et al., "Unlearning or Concealment?" (arXiv 2409.05668), as its
authors' code computes them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from genunlearn.ops.intervals import LEVEL, RESAMPLES

Role = Literal["forget", "retain"]
Estimate = tuple[float, float, float]
"""A value and the ends of its 95% interval."""

NEGATIVES = 3
LEAST_GAP = 0.05
"""Where original and oracle may lie closer than this, what lies between them has no measure."""

MOST_PSI = 0.5
"""Above about this share, completed images show the concept whatever the model that ends them knows."""


def feature_distance(a: Tensor, b: Tensor) -> Tensor:
    """Distance d of every pair: ``(n, d)`` and ``(m, d)`` features to ``(n, m)``.

    It is 0.137 for equal directions and 0.637 for orthogonal ones.
    """
    cosines = F.normalize(a.double(), dim=1) @ F.normalize(b.double(), dim=1).T
    return (1 - cosines.arctan()) / (math.pi / 2)


def signed_margin(features: Tensor, original: Tensor, unlearned: Tensor) -> Tensor:
    """Margin m of each image, ``(n,)`` float64: positive where it is nearer to the original's images.

    Args:
        features: ``(n, d)`` of the images.
        original: ``(o, d)`` of images of the original.
        unlearned: ``(u, d)`` of images of the unlearned model.
    """
    return feature_distance(features, unlearned).mean(1) - feature_distance(features, original).mean(1)


def delta(margins: Tensor) -> float:
    """Delta of margins ``(psis, n)``: the mean over psi of the size of the mean margin."""
    return float(margins.mean(1).abs().mean())


def retrieval_score(margins: Tensor, role: Role) -> float:
    """CRS of margins ``(psis, n)``."""
    return delta(margins) if role == "forget" else 1 - delta(margins)


def triplet_loss(features: Tensor, labels: Tensor, margin: float, generator: torch.Generator) -> Tensor:
    """Mean over anchors of ``max(0, |a - p| - min_k |a - n_k| + margin)``, with a random p and the nearest of three n.

    Args:
        features: ``(batch, d)``.
        labels: ``(batch,)``.
        margin: How much farther the other class is to be.
        generator: Draws positives and negatives from the batch; on the CPU.

    Returns:
        Scalar; 0 where the batch has no pair of one class beside another class.
    """
    same = labels[:, None] == labels[None, :]
    positive, negative = same & ~torch.eye(len(labels), dtype=torch.bool, device=same.device), ~same
    usable = positive.any(1) & negative.any(1)
    if not usable.any():
        return features.sum() * 0
    order = torch.rand(same.shape, generator=generator).to(features.device)
    distances = torch.cdist(features, features)
    chosen = torch.where(positive, order, -1.0).argmax(1, keepdim=True)
    ranked = torch.where(negative, order, -1.0).topk(min(NEGATIVES, len(labels)), dim=1)
    far = distances.gather(1, ranked.indices).masked_fill(ranked.values < 0, math.inf)
    gaps = distances.gather(1, chosen).squeeze(1) - far.min(1).values + margin
    return gaps[usable].clamp_min(0).mean()


@dataclass(frozen=True)
class LeakCurve:
    """The normalised leak.

    Attributes:
        psis: Shares, ascending.
        points: The leak at each; None where original and oracle are too close to tell.
        area: Mean of the leak over psi up to `MOST_PSI`; None with fewer than two points there.
    """

    psis: tuple[float, ...]
    points: tuple[Estimate | None, ...]
    area: Estimate | None


def normalised_leak(
    psis: Sequence[float], unlearned: Tensor, oracle: Tensor, original: Tensor, seed: int = 0
) -> LeakCurve:
    """The leak by psi and its mean, with bootstrap intervals over seeds.

    Args:
        psis: Shares, ascending.
        unlearned: Scores ``(psis, seeds)`` of images that the unlearned model completed.
        oracle: The same of the oracle, from the same beginnings.
        original: The same of the original.
        seed: Seed of the resampling; seeds are drawn together for all psi and models.
    """
    scores = [np.asarray(each, dtype=np.float64) for each in (unlearned, oracle, original)]
    seeds = scores[0].shape[1]
    picks = np.random.default_rng(seed).integers(0, seeds, size=(RESAMPLES, seeds))
    means = [each.mean(1) for each in scores]
    drawn = [each[:, picks].mean(2) for each in scores]  # (psis, resamples)
    gaps = drawn[2] - drawn[1]
    is_clear = np.array([_ends(row)[0] >= LEAST_GAP for row in gaps])
    values = _ratio(means[0] - means[1], means[2] - means[1])
    resampled = _ratio(drawn[0] - drawn[1], gaps)
    points = tuple(
        (float(value), *_ends(row)) if clear else None
        for value, row, clear in zip(values, resampled, is_clear, strict=True)
    )
    inside = is_clear & (np.asarray(psis) <= MOST_PSI)
    if inside.sum() < 2:
        return LeakCurve(tuple(psis), points, None)
    where = np.asarray(psis)[inside]
    width = where[-1] - where[0]
    area = float(np.trapezoid(values[inside], where) / width)
    areas = np.trapezoid(resampled[inside], where, axis=0) / width
    return LeakCurve(tuple(psis), points, (area, *_ends(areas)))


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """The quotient; where it means nothing it is left out later, so that the divisor only has to be no 0."""
    return above / np.where(np.abs(below) < 1e-12, 1e-12, below)


def _ends(values: np.ndarray) -> tuple[float, float]:
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)
