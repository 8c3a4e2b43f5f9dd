"""Weights nearby: a model as it would be a short way along a gradient, for losses that ask what holds there too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call


@contextmanager
def uphill(model: Any, loss: Tensor, rho: float) -> Iterator[None]:
    """The model at ``theta + rho g / |g|``, with g the gradient of `loss`; the way there carries no gradient.

    Only what is trained is moved: under LoRA the adapter.

    Args:
        model: A language model.
        loss: A scalar that was computed with it.
        rho: Length of the way, in the Euclidean norm of all trained weights.
    """
    weights = {name: weight for name, weight in model.module.named_parameters() if weight.requires_grad}
    grads = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    found = [(name, grad) for name, grad in zip(weights, grads, strict=True) if grad is not None]
    length = torch.stack([grad.square().sum() for _, grad in found]).sum().sqrt().clamp_min(1e-12)
    network = model.module
    model.module = _Moved(network, {name: weights[name] + rho / length * grad for name, grad in found})
    try:
        yield
    finally:
        model.module = network


class _Moved(nn.Module):
    """A network with other weights in the place of some of its own."""

    def __init__(self, network: nn.Module, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.network, self.weights = network, weights

    def forward(self, *given: Any, **named: Any) -> Any:
        return functional_call(self.network, self.weights, given, named)
