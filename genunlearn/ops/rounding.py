"""Weights as they come back from quantisation: rounded to a few levels, row by row or block by block."""

from __future__ import annotations

import torch
from torch import Tensor

NF4 = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)
"""The code book of NF4 (Dettmers et al., "QLoRA", NeurIPS 2023, appendix E)."""


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


def nf4(weight: Tensor, block: int = 64) -> Tensor:
    """Each entry at the nearest of the 16 levels of `NF4`, in units of the largest size in its block.

    Args:
        weight: Any shape; blocks run over its entries in order, the last one may be shorter.
        block: Entries in a block.
    """
    flat = weight.detach().float().flatten()
    blocks = torch.nn.functional.pad(flat, (0, -flat.numel() % block)).view(-1, block)
    scale = blocks.abs().amax(1, keepdim=True).clamp_min(1e-12)
    codes = torch.tensor(NF4, device=weight.device)
    between = (codes[1:] + codes[:-1]) / 2
    levels = codes[torch.bucketize(blocks / scale, between)] * scale
    return levels.flatten()[: flat.numel()].view_as(weight).to(weight.dtype)
