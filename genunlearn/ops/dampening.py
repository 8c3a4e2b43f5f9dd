"""Dampening: shrink the weights that matter more for the forget set than for everything.

Source: Foster, Schoepf, Brintrup, "Fast Machine Unlearning Without Retraining Through Selective Synaptic
Dampening" (AAAI 2024).
"""

from __future__ import annotations

import torch
from torch import Tensor


def dampening_factor(forget: Tensor, everything: Tensor, *, alpha: float, strength: float) -> Tensor:
    """By what a weight is multiplied: ``min(strength * I_D / I_f, 1)`` where ``I_f > alpha * I_D``, else 1.

    Args:
        forget: Importance I_f of each weight for the forget set, at least 0.
        everything: Importance I_D of each weight for all data, of the same shape.
        alpha: Selection: how many times more a weight must matter for the forget set.
        strength: The paper's lambda: 1 dampens by the ratio itself, less dampens more.

    Returns:
        Factors in [0, 1], of the same shape.
    """
    selected = forget > alpha * everything
    ratio = (strength * everything / forget.clamp_min(torch.finfo(forget.dtype).tiny)).clamp_max(1.0)
    return torch.where(selected, ratio, torch.ones_like(ratio))
