"""Dampening: shrink the weights that matter more for what is to be forgotten than for everything.

Two papers share the step and differ in what a weight's importance is: a Fisher diagonal (selective synaptic dampening),
or how far the clients of a federation have moved it (ConDa).

Sources: Foster, Schoepf, Brintrup, "Fast Machine Unlearning Without Retraining Through Selective Synaptic
Dampening" (AAAI 2024). Chundawat, Niroula, Dhungana, Schoepf, Mandal, Brintrup, "ConDa: Fast Federated Unlearning with
Contribution Dampening" (arXiv 2410.04144), algorithm 1 and released code.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Rule = Literal["ratio", "printed"]


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
    return _shrunk(strength * everything / forget.clamp_min(torch.finfo(forget.dtype).tiny), selected, 1.0)


def contribution_factor(
    forget: Tensor,
    others: Tensor,
    *,
    cutoff: float,
    strength: float,
    upper: float = 1.0,
    rule: Rule = "ratio",
    epsilon: float = 1e-12,
) -> Tensor:
    """By what a weight is multiplied: ``min(strength * r, upper)`` where it is selected, else 1.

    ``r = (others + epsilon) / (forget + epsilon)`` is small where the clients that go have moved a weight more than
    the others; where nobody has moved it, r is 1.

    Args:
        forget: How far the clients that go have moved each weight, at least 0.
        others: How far the clients have that it is compared with, of the same shape.
        cutoff: The paper's alpha: a weight is selected below it.
        strength: The paper's lambda.
        upper: The paper's U: factors above it are cut to it.
        rule: ``ratio`` selects where ``r < cutoff``. ``printed`` selects where ``min(strength * r, upper) < cutoff *
            r``, as algorithm 1 has it: with strength and upper 1 and a cutoff below 1 that is nowhere.
        epsilon: Keeps 0 / 0 at 1.

    Returns:
        Factors in [0, upper] where a weight is selected and 1 elsewhere, of the same shape.
    """
    ratio = (others + epsilon) / (forget + epsilon)
    selected = ratio < cutoff if rule == "ratio" else (strength * ratio).clamp_max(upper) < cutoff * ratio
    return _shrunk(strength * ratio, selected, upper)


def _shrunk(factor: Tensor, selected: Tensor, upper: float) -> Tensor:
    """The factor, at most `upper`, where a weight is selected; 1 elsewhere."""
    return torch.where(selected, factor.clamp_max(upper), torch.ones_like(factor))
