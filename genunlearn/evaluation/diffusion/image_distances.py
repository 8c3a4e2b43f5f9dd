"""How far two sets of images are apart, in the features of a network: FID and KID, with intervals.

    FID = |m_a - m_b|^2 + tr(C_a) + tr(C_b) - 2 tr((C_a C_b)^(1/2))
    KID = mean_{i != j} k(a_i, a_j) + mean_{i != j} k(b_i, b_j) - 2 mean_{i, j} k(a_i, b_j),   k(x, y) = (x.y / d + 1)^3

FID (Heusel et al., NeurIPS 2017) falls with the number of images, so compare values of equal `n` only. KID (Binkowski
et al., ICLR 2018) has no such bias. It is published as the mean over random subsets, which spares memory; here it is
taken over all pairs at once, which has the same expectation and less variance. Both are computed in float64. Values on
other features than those of the Inception network compare with each other, not with published ones.

The intervals are 95% normal ones, from a jackknife over blocks of either set. They tell how much a value moves with
the choice of images; they do not correct the bias of FID.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from genunlearn.errors import DataError

BLOCKS = 20
"""Parts of each set that the jackknife leaves out in turn."""

QUANTILE = 1.96
LEAST = 4
"""Images a side, fewer of which have no distance."""

ROWS = 2048
"""Rows of the kernel matrix that are held at a time."""

Estimate = tuple[float, float, float]
"""A value and the ends of its interval."""


def fid(a: Tensor, b: Tensor) -> Estimate:
    """The Frechet distance between normal distributions fitted to features ``(n, d)`` and ``(m, d)``.

    Raises:
        DataError: A set has fewer than four images, or the features differ in length.
    """
    a, b = _checked(a, b)
    moments_a, moments_b = _moments(a), _moments(b)
    without_a = [frechet(*moments, *moments_b) for moments in map(_moments, _without_blocks(a))]
    without_b = [frechet(*moments_a, *moments) for moments in map(_moments, _without_blocks(b))]
    return _estimate(frechet(*moments_a, *moments_b), torch.tensor(without_a), torch.tensor(without_b))


def frechet(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> float:
    """The squared Frechet distance between two normal distributions, means ``(d,)`` and covariances ``(d, d)``.

    The trace of the root is the sum of the roots of the eigenvalues of ``R C_b R`` with ``R = C_a^(1/2)``, which is
    symmetric: no root of a non-symmetric matrix is taken, and singular covariances are welcome.
    """
    values, vectors = torch.linalg.eigh(cov_a)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    overlap = torch.linalg.eigvalsh(root @ cov_b @ root).clamp_min(0).sqrt().sum()
    distance = (mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * overlap
    return max(0.0, float(distance))


def kid(a: Tensor, b: Tensor) -> Estimate:
    """The unbiased squared kernel distance between features ``(n, d)`` and ``(m, d)``; may come out below zero.

    The kernel is summed once, by blocks of images; what the distance is without a block follows from those sums.

    Raises:
        DataError: A set has fewer than four images, or the features differ in length.
    """
    a, b = _checked(a, b)
    within_a, within_b, across = _kernel_sums(a, a), _kernel_sums(b, b), _kernel_sums(a, b)
    within_a -= _diagonal_sums(a)
    within_b -= _diagonal_sums(b)
    sizes_a, sizes_b = _block_of(a).bincount(), _block_of(b).bincount()

    def distance(sum_a: Tensor, sum_b: Tensor, sum_ab: Tensor, n: Tensor, m: Tensor) -> Tensor:
        return sum_a / (n * (n - 1)) + sum_b / (m * (m - 1)) - 2 * sum_ab / (n * m)

    all_a, all_b, all_ab, n, m = (part.sum() for part in (within_a, within_b, across, sizes_a, sizes_b))
    less_a = all_a - 2 * within_a.sum(1) + within_a.diagonal()
    less_b = all_b - 2 * within_b.sum(1) + within_b.diagonal()
    without_a = distance(less_a, all_b, all_ab - across.sum(1), n - sizes_a, m)
    without_b = distance(all_a, less_b, all_ab - across.sum(0), n, m - sizes_b)
    return _estimate(float(distance(all_a, all_b, all_ab, n, m)), without_a, without_b)


def _checked(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    if min(len(a), len(b)) < LEAST or a.ndim != 2 or a.shape[1:] != b.shape[1:]:
        shapes = f"{tuple(a.shape)} and {tuple(b.shape)}"
        raise DataError(f"features of shape {shapes} have no distance: give four or more images a side, of one judge")
    return a.double(), b.double()


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean ``(d,)`` and covariance ``(d, d)``."""
    mean = features.mean(0)
    centred = features - mean
    return mean, centred.T @ centred / (len(features) - 1)


def _block_of(features: Tensor) -> Tensor:
    """The block of each image, ``(n,)``: blocks are strides, so that the order of the images does not matter."""
    return torch.arange(len(features)) % min(BLOCKS, len(features) // 2)


def _without_blocks(features: Tensor) -> Iterator[Tensor]:
    place = _block_of(features)
    return (features[place != block] for block in place.unique())


def _kernel(products: Tensor, dim: int) -> Tensor:
    return (products / dim + 1) ** 3


def _kernel_sums(a: Tensor, b: Tensor) -> Tensor:
    """Sum of the kernel over each block of `a` with each block of `b`, ``(blocks, blocks)``."""
    member_a, member_b = (torch.nn.functional.one_hot(_block_of(each)).double() for each in (a, b))
    parts = zip(a.split(ROWS), member_a.split(ROWS), strict=True)
    sums = [member.T @ (_kernel(rows @ b.T, b.shape[1]) @ member_b) for rows, member in parts]
    return torch.stack(sums).sum(0)


def _diagonal_sums(features: Tensor) -> Tensor:
    """What pairs of an image with itself add to `_kernel_sums`, ``(blocks, blocks)``."""
    own = _kernel(features.square().sum(1), features.shape[1])
    return (
        torch.zeros(int(_block_of(features).max()) + 1, dtype=own.dtype).index_add(0, _block_of(features), own).diag()
    )


def _estimate(value: float, without_a: Tensor, without_b: Tensor) -> Estimate:
    """The value with its interval, from the values without each block of either set."""
    variance = sum((len(values) - 1) * float(values.double().var(correction=0)) for values in (without_a, without_b))
    margin = QUANTILE * math.sqrt(variance)
    return value, value - margin, value + margin
