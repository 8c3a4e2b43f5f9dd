"""A clip as one picture: approximate rank pooling.

    d = sum_t a_t x_t,   a_t = 2 (T - t + 1) - (T + 1) (H_T - H_{t-1}),   H_t = 1 + 1/2 + ... + 1/t

A still clip gives zero, since the weights sum to zero; what moves leaves a dark and a bright trace.

Source: Bilen et al., *Dynamic Image Networks for Action Recognition*, CVPR 2016, section 3.2.
Deviations: none.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rank_pooling_weights(frames: int, *, is_simple: bool = False) -> Tensor:
    """The weight of each frame, float64.

    Args:
        frames: Their number, at least 1.
        is_simple: Take ``2 t - T - 1``, which pools frames instead of their running means.
    """
    order = torch.arange(1, frames + 1, dtype=torch.float64)
    if is_simple:
        return 2 * order - frames - 1
    harmonic = torch.cat([torch.zeros(1, dtype=torch.float64), (1 / order).cumsum(0)])
    return 2 * (frames - order + 1) - (frames + 1) * (harmonic[-1] - harmonic[:-1])


def dynamic_image(frames: Tensor, *, is_simple: bool = False) -> Tensor:
    """The picture that a clip leaves, in the frames' number format.

    Args:
        frames: ``(time, channels, height, width)``, or any other shape behind the time, real numbers.
        is_simple: See `rank_pooling_weights`.

    Returns:
        ``(channels, height, width)``; zero where nothing moves.
    """
    weights = rank_pooling_weights(len(frames), is_simple=is_simple).to(frames)
    return torch.tensordot(weights, frames, dims=1)
