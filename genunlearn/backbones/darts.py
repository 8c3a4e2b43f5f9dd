"""Gradients of an architecture, first and second order, and the term that asks it to forget easily.

First order: the gradient of L_val(w, a) in a, weights as they are.
Second order: weights are taken one step ahead, and the gradient reaches through that step by a finite difference:

    w' = w - xi (m + grad_w L_train(w, a) + d w)         m: momentum times its buffer, d: weight decay
    grad_a L_val(w', a) - xi [grad_a L_train(w+, a) - grad_a L_train(w-, a)] / 2 e
    w+- = w +- e grad_w' L_val(w', a),   e = 0.01 / |grad_w' L_val(w', a)|

Source: Liu, Simonyan, Yang, *DARTS: Differentiable Architecture Search*, ICLR 2019, section 2.3, and its code.
Deviations: none. The forgettability term is ours:

    gap(w) = L_retain(w, a) - min(L_forget(w, a), log classes)
    G(w, a) = gap(w_k),   w_0 = w,   w_i+1 = w_i - eta clip(grad_w gap(w_i), 1)

It is low where k unlearning steps take the forget set and leave the retain set. A loss above that of guessing counts as
guessing: an architecture gains nothing by being surely wrong. In first order w_k counts as a constant, in second order
the gradient reaches through the k steps. A step is no longer than eta, since the gap grows steep as it opens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Loss = Callable[[Sequence[Tensor]], Tensor]
"""A loss as a function of the weights; the architecture is in it, as leaves of the graph."""
RADIUS = 1e-2
"""Length of the finite difference."""
LONGEST = 1.0
"""Gradient that an unlearning step takes whole; a longer one is cut to this."""


def first_order(outer: Loss, weights: Sequence[Tensor], alphas: Sequence[Tensor]) -> list[Tensor]:
    """The gradient of `outer` in the architecture, at the weights as they are."""
    return list(torch.autograd.grad(outer(_constants(weights)), alphas))


def second_order(
    inner: Loss,
    outer: Loss,
    weights: Sequence[Tensor],
    alphas: Sequence[Tensor],
    *,
    rate: float,
    momentum: Sequence[Tensor] | None = None,
    decay: float = 0.0,
) -> list[Tensor]:
    """The gradient of `outer` in the architecture, at weights that have taken one step on `inner`.

    Args:
        inner: What weights are trained on.
        outer: What the architecture is judged by.
        weights: As they are; they are left so.
        alphas: The architecture.
        rate: The step, xi.
        momentum: By weight, momentum times the optimiser's buffer; None before its first step.
        decay: Weight decay.
    """
    plain = _constants(weights)
    leaves = [weight.clone().requires_grad_() for weight in plain]
    steps = torch.autograd.grad(inner(leaves), leaves)
    momentum = momentum or [torch.zeros_like(weight) for weight in plain]
    ahead = [
        (weight - rate * (kept + step + decay * weight)).requires_grad_()
        for weight, step, kept in zip(plain, steps, momentum, strict=True)
    ]
    found = torch.autograd.grad(outer(ahead), [*alphas, *ahead])
    direct, direction = found[: len(alphas)], found[len(alphas) :]
    length = torch.cat([part.flatten() for part in direction]).norm()
    if not length > 0:  # the outer loss is flat in the weights: nothing reaches through the step
        return list(direct)
    radius = RADIUS / length

    def beside(sign: float) -> tuple[Tensor, ...]:
        moved = [weight + sign * radius * part for weight, part in zip(plain, direction, strict=True)]
        return torch.autograd.grad(inner(moved), alphas)

    through = zip(beside(1.0), beside(-1.0), strict=True)
    return [own - rate * (above - below) / (2 * radius) for own, (above, below) in zip(direct, through, strict=True)]


def forget_gap(retain: Tensor, forget: Tensor, ceiling: float) -> Tensor:
    """Mean retain loss less mean forget loss, the latter up to that of guessing.

    Args:
        retain: Loss of each retain item.
        forget: Loss of each forget item.
        ceiling: Loss of guessing, the logarithm of the number of classes.
    """
    return retain.mean() - forget.mean().clamp(max=ceiling)


def unlearning_steps(gap: Loss, weights: Sequence[Tensor], *, steps: int, rate: float, through: bool) -> list[Tensor]:
    """The weights after some steps down the gap.

    Args:
        gap: See `forget_gap`, as a function of the weights.
        weights: Where to begin.
        steps: How many.
        rate: Of each step.
        through: Whether gradients reach through the steps; otherwise what is returned counts as constant.
    """
    current = list(weights) if through else _constants(weights)
    for _ in range(steps):
        leaves = [weight if weight.requires_grad else weight.clone().requires_grad_() for weight in current]
        slopes = torch.autograd.grad(gap(leaves), leaves, create_graph=through)
        shorter = torch.cat([slope.flatten() for slope in slopes]).norm().clamp_min(LONGEST)
        current = [weight - rate / shorter * slope for weight, slope in zip(leaves, slopes, strict=True)]
        current = current if through else _constants(current)
    return current


def _constants(weights: Sequence[Tensor]) -> list[Tensor]:
    return [weight.detach() for weight in weights]
