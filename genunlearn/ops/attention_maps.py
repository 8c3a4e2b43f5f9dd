"""Attention maps of activations, and how far two networks attend apart.

Source: Zagoruyko, Komodakis, "Paying More Attention to Attention" (ICLR 2017), eq. 1 and 2.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize


def attention_map(activation: Tensor) -> Tensor:
    """Where a layer is active: squared activations, averaged over channels, at unit length.

    Args:
        activation: ``(batch, channels, height, width)`` of a convolution, ``(batch, positions, channels)`` of
            a sequence layer, or ``(batch, units)`` of a dense layer, whose units stand for positions.

    Returns:
        ``(batch, positions)`` with Euclidean norm 1 (0 where nothing is active).
    """
    energy = activation.float().square()
    if energy.dim() == 4:
        energy = energy.mean(1)
    elif energy.dim() == 3:
        energy = energy.mean(2)
    return normalize(energy.flatten(1), dim=1)


def attention_distance(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Mean squared difference of attention maps, summed over layers.

    Args:
        student: Maps of each layer, ``(batch, positions)``, as `attention_map` gives them.
        teacher: Maps of the same layers of the other network.

    Returns:
        ``(batch,)``.
    """
    layers = [(mine - other).square().mean(1) for mine, other in zip(student, teacher, strict=True)]
    return torch.stack(layers).sum(0)
