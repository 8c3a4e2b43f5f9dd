"""Weights as they come back from quantisation: rounded to a few levels, row by row."""

from __future__ import annotations

from torch import Tensor


def rounded(weight: Tensor, bits: int) -> Tensor:
    """Each row at the nearest of ``2^bits - 1`` levels, evenly spaced up to the row's largest size.

    Args:
        weight: ``(out, ...)``.
        bits: At least 2.
    """
    levels = 2 ** (bits - 1) - 1
    rows = weight.detach().float().flatten(1)
    scale = rows.abs().amax(1, keepdim=True).clamp_min(1e-12) / levels
    return ((rows / scale).round() * scale).view_as(weight).to(weight.dtype)
