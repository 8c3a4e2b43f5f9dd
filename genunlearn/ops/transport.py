"""Optimal transport between two clouds of points, with a little entropy to make it smooth."""

from __future__ import annotations

import torch
from torch import Tensor


def sinkhorn(cost: Tensor, epsilon: float, rounds: int = 500, tolerance: float = 1e-6) -> tuple[Tensor, Tensor, Tensor]:
    """Entropic transport between uniform weights, in logarithms (Cuturi, NeurIPS 2013).

        min_P <P, C> + epsilon * sum P (log P - 1),   P 1 = 1/n,   P' 1 = 1/m

    Args:
        cost: C, ``(n, m)``.
        epsilon: Weight of the entropy, in units of the cost.
        rounds: Most rounds.
        tolerance: Change of the potentials, as a share of epsilon, at which the rounds end.

    Returns:
        The distance <P, C>, and the dual potentials ``(n,)`` and ``(m,)``.
    """
    n, m = cost.shape
    log_n, log_m = torch.tensor(float(n)).log().to(cost), torch.tensor(float(m)).log().to(cost)
    f, g = cost.new_zeros(n), cost.new_zeros(m)
    for _ in range(rounds):
        g = -epsilon * (torch.logsumexp((f[:, None] - cost) / epsilon, 0) - log_n)
        moved = -epsilon * (torch.logsumexp((g[None] - cost) / epsilon, 1) - log_m)
        is_settled = bool((moved - f).abs().max() <= tolerance * epsilon)
        f = moved
        if is_settled:
            break
    plan = ((f[:, None] + g[None] - cost) / epsilon - log_n - log_m).exp()
    return (plan * cost).sum(), f, g
