"""A few centres that stand for many vectors."""

from __future__ import annotations

import torch
from torch import Tensor


def k_means(rows: Tensor, count: int, rounds: int = 20) -> Tensor:
    """Centres of `rows` by Lloyd's rounds from the farthest-first start; a function of `rows` alone.

    Args:
        rows: ``(n, d)``.
        count: Centres; no more than `rows` are returned.
        rounds: Most rounds that are done.

    Returns:
        ``(min(count, n), d)``.
    """
    chosen = [0]
    nearest = torch.cdist(rows, rows[:1]).squeeze(1)
    while len(chosen) < min(count, len(rows)):
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, torch.cdist(rows, rows[chosen[-1:]]).squeeze(1))
    centres = rows[chosen]
    for _ in range(rounds):
        member = torch.cdist(rows, centres).argmin(1)
        is_in = torch.nn.functional.one_hot(member, len(centres)).to(rows.dtype)
        moved = is_in.T @ rows / is_in.sum(0).clamp_min(1).unsqueeze(1)
        moved = torch.where(is_in.sum(0).unsqueeze(1) > 0, moved, centres)
        if torch.equal(moved, centres):
            break
        centres = moved
    return centres
