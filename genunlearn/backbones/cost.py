"""What a network costs: weights, multiply-adds of one picture, and of a whole training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from genunlearn.ops.evaluation_mode import evaluating

PASSES = 3
"""A training step costs about as much as three forward passes: one forward, and two gradients backward."""


def count_weights(network: nn.Module) -> int:
    """Numbers that are trained."""
    return sum(weight.numel() for weight in network.parameters() if weight.requires_grad)


def count_multiply_adds(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Multiply-adds of convolutions and linear layers for one input.

    Normalisation, pooling and sums are left out, as is usual.

    Args:
        network: Called with one input; it is left as it was.
        shape: Of the input, without the batch.
    """
    counted: list[int] = []

    def count(part: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        weight = part.get_parameter("weight")
        counted.append(output.numel() * weight[0].numel())

    layers = [part for part in network.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(count) for layer in layers]
    first = next(network.parameters())
    try:
        with evaluating(network), torch.no_grad():
            network(torch.zeros(1, *shape, dtype=first.dtype, device=first.device))
    finally:
        for handle in handles:
            handle.remove()
    return sum(counted)


def training_multiply_adds(once: int, items: int, epochs: int) -> int:
    """Of a training of so many epochs on so many items, forward and backward."""
    return PASSES * once * items * epochs
