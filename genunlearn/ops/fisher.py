"""Diagonal Fisher information: how much each weight matters for a set of examples.

Two estimates go by that name. The empirical Fisher squares the gradient of every example; the square of a
batch's mean gradient, which published dampening code accumulates, is smaller by about the batch size where
gradients point in all directions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor
from torch.func import grad, vmap

ExampleLoss = Callable[[dict[str, Tensor], dict[str, Tensor]], Tensor]
"""``loss(weights, example)``: the loss of one example, whose tensors carry no batch dimension."""


def per_example_gradients(
    loss: ExampleLoss, weights: Mapping[str, Tensor], tensors: Mapping[str, Tensor], chunk: int = 64
) -> Iterator[dict[str, Tensor]]:
    """Gradients of every example, `chunk` examples at a time.

    Args:
        loss: Loss of one example; one with data-dependent control flow is differentiated example by example.
        weights: Weights by name.
        tensors: Named tensors, first dimension ``batch``.
        chunk: Examples whose gradients are held at once; memory grows with it, speed only up to about 64.

    Yields:
        For each chunk, gradients by weight name, first dimension the chunk's examples.
    """
    # Under vmap a convolution is a grouped one, for which weights and pictures with the channels last are slower.
    own = {name: weight.detach().contiguous() for name, weight in weights.items()}
    count = len(next(iter(tensors.values())))
    for start in range(0, count, chunk):
        part = {name: tensor[start : start + chunk].contiguous() for name, tensor in tensors.items()}
        try:
            yield vmap(grad(loss), in_dims=(None, 0), randomness="different")(own, part)
        except RuntimeError as error:
            if not str(error).startswith("vmap:"):
                raise
            yield _one_by_one(loss, own, part)


def _one_by_one(loss: ExampleLoss, weights: dict[str, Tensor], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    count = len(next(iter(tensors.values())))
    rows = [grad(loss)(weights, {name: tensor[row] for name, tensor in tensors.items()}) for row in range(count)]
    return {name: torch.stack([row[name] for row in rows]) for name in weights}


def empirical_fisher(
    loss: ExampleLoss, weights: Mapping[str, Tensor], tensors: Mapping[str, Tensor], chunk: int = 64
) -> dict[str, Tensor]:
    """Sum of the examples' squared gradients, by weight name; arguments as `per_example_gradients`."""
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for gradients in per_example_gradients(loss, weights, tensors, chunk):
        for name, gradient in gradients.items():
            # In place where nothing shares the memory: a second tensor of this size costs more than the squares.
            squares = gradient.square_() if gradient.is_contiguous() else gradient.square()
            total[name] += squares.sum(0)
    return total


def gradient_norms(
    loss: ExampleLoss, weights: Mapping[str, Tensor], tensors: Mapping[str, Tensor], chunk: int = 64
) -> Tensor:
    """Squared gradient norm of each example, ``(batch,)``; arguments as `per_example_gradients`."""
    parts = [
        torch.stack([gradient.square().reshape(len(gradient), -1).sum(1) for gradient in gradients.values()]).sum(0)
        for gradients in per_example_gradients(loss, weights, tensors, chunk)
    ]
    return torch.cat(parts)


def batch_fisher(losses: Iterable[Tensor], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Mean over batches of the squared gradient of a batch's mean loss, by weight name.

    Args:
        losses: Scalar mean losses of the batches; each graph is freed before the next loss is asked for.
        weights: Weights by name, in the graph of every loss.
    """
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    count = 0
    for loss in losses:
        gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
        for name, gradient in zip(weights, gradients, strict=True):
            if gradient is not None:
                total[name] += gradient.square()
        count += 1
    return {name: value / max(count, 1) for name, value in total.items()}
