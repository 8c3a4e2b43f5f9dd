"""Writing facts into a linear layer that is read as a memory: a key k gets the value W k + r.

Keys are columns of a layer's input, ``K (d, n)``, residuals what their values are to change by, ``R (out, n)``; the
kept keys have the second moment ``C = mean k k^T (d, d)``. Rows hold keys here: ``(n, d)`` and ``(n, out)``. Solves
run in float64.

Sources: Meng et al., ROME (NeurIPS 2022) and MEMIT (ICLR 2023); Fang et al., AlphaEdit (ICLR 2025).
"""

from __future__ import annotations

import torch
from torch import Tensor


def second_moment(keys: Tensor) -> Tensor:
    """``mean k k^T`` of keys ``(n, d)``, ``(d, d)`` in float64."""
    rows = keys.double()
    return rows.T @ rows / max(1, len(rows))


def rank_one_change(key: Tensor, residual: Tensor, moment: Tensor, ridge: float) -> Tensor:
    """``r (C^-1 k)^T / (k^T C^-1 k)``: the change after which `key` has its value exactly, least in C's norm.

    Args:
        key: ``(d,)``.
        residual: ``(out,)``.
        moment: ``(d, d)``.
        ridge: Added to C's diagonal, as a share of its mean.

    Returns:
        ``(out, d)`` in float64.
    """
    direction = torch.linalg.solve(_ridged(moment, ridge), key.double())
    return torch.outer(residual.double(), direction) / (key.double() @ direction)


def weighted_change(keys: Tensor, residuals: Tensor, moment: Tensor, weight: float, ridge: float) -> Tensor:
    """``R K^T (weight C + K K^T)^-1``: new keys against kept ones, in least squares.

    Args:
        keys: ``(n, d)``.
        residuals: ``(n, out)``.
        moment: ``(d, d)``.
        weight: Of the kept keys; towards 0 the new values are met exactly.
        ridge: Added to C's diagonal, as a share of its mean.

    Returns:
        ``(out, d)`` in float64.
    """
    rows = keys.double()
    system = weight * _ridged(moment, ridge) + rows.T @ rows
    return torch.linalg.solve(system, rows.T @ residuals.double()).T


def null_space_change(keys: Tensor, residuals: Tensor, moment: Tensor, threshold: float, ridge: float) -> Tensor:
    """``R K^T P (K K^T P + ridge I)^-1``, P the projector onto directions that kept keys hardly have.

    Args:
        keys: ``(n, d)``.
        residuals: ``(n, out)``.
        moment: ``(d, d)``.
        threshold: Directions in which the kept keys' mean square is below this share of the average one.
        ridge: As a share of the kept keys' mean squared length.

    Returns:
        ``(out, d)`` in float64; kept keys without a part in those directions keep their values exactly.
    """
    rows = keys.double()
    sizes, directions = torch.linalg.eigh(moment)
    unused = directions[:, sizes < threshold * sizes.mean()]
    projector = unused @ unused.T
    system = rows.T @ (rows @ projector) + ridge * moment.trace() * torch.eye(len(moment)).to(moment)
    wanted = (residuals.double().T @ rows) @ projector
    return torch.linalg.solve(system, wanted, left=False)


def _ridged(moment: Tensor, ridge: float) -> Tensor:
    return moment + ridge * moment.diagonal().mean() * torch.eye(len(moment)).to(moment)
