"""Weights that matter for a loss, and holding all others still.

    |g_i| > the k-th smallest of all |g|,   k = number of weights that are to stay

Source: Fan et al., "SalUn: Empowering Machine Unlearning via Gradient-based Weight Saliency" (ICLR 2024).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

Hold = Literal["weights", "gradients"]


def saliency_masks(gradients: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Mark the `share` of weights with the largest absolute gradient, over all tensors together.

    Weights that tie with the threshold are not marked, so a gradient of zero never is.

    Args:
        gradients: Gradient by parameter name.
        share: Between 0 (nothing is marked) and 1 (everything with a gradient is).

    Returns:
        Boolean tensors of the gradients' shapes, True where the weight may move.
    """
    total = sum(gradient.numel() for gradient in gradients.values())
    staying = total - round(share * total)
    threshold = kth_magnitude(list(gradients.values()), staying) if staying else 0.0
    return {name: gradient.detach().abs().float() > threshold for name, gradient in gradients.items()}


def kth_magnitude(tensors: Sequence[Tensor], k: int) -> float:
    """The `k`-th smallest absolute value, counted from 1, over all elements of `tensors`, in float32.

    Exact, without sorting and without joining the tensors: the bits of a non-negative float order like
        integers, so one histogram of the upper 16 bits finds the bin and a second one, inside it, the value.
    """

    def bits(tensor: Tensor) -> Tensor:
        return tensor.detach().abs().float().flatten().view(torch.int32)

    def select(counts: Sequence[Tensor], rank: int) -> tuple[int, int]:
        below = torch.stack(list(counts)).sum(0).cumsum(0)
        place = int(torch.searchsorted(below, rank))
        return place, rank - (int(below[place - 1]) if place else 0)

    upper, rank = select([torch.bincount(bits(t) >> 16, minlength=1 << 15).cpu() for t in tensors], k)
    inside = (values[values >> 16 == upper] & 0xFFFF for values in map(bits, tensors))
    lower, _ = select([torch.bincount(values, minlength=1 << 16).cpu() for values in inside], rank)
    return float(torch.tensor([upper << 16 | lower], dtype=torch.int32).view(torch.float32))


@contextmanager
def held_still(
    parameters: Mapping[str, nn.Parameter], masks: Mapping[str, Tensor], hold: Hold = "weights"
) -> Iterator[None]:
    """While the block runs, optimisers move marked weights only.

    Args:
        parameters: Parameters by name; those without a mask are left alone.
        masks: True where a weight may move, see `saliency_masks`.
        hold: ``weights`` puts the others back after every optimiser step, bit for bit, so that neither
            momentum nor weight decay moves them. ``gradients`` only multiplies their gradient by 0, as the
            reference
            implementation does: weight decay and momentum from before still act.
    """
    held = [(parameters[name], mask) for name, mask in masks.items()]

    def mask_gradient(parameter: nn.Parameter, mask: Tensor) -> Any:
        return parameter.register_hook(lambda gradient: gradient * mask)

    handles = [mask_gradient(parameter, mask) for parameter, mask in held]
    if hold == "weights":
        originals = [parameter.detach().clone() for parameter, _ in held]

        @torch.no_grad()
        def put_back(*_: Any) -> None:
            for (parameter, mask), original in zip(held, originals, strict=True):
                parameter.copy_(torch.where(mask, parameter, original))

        handles.append(register_optimizer_step_post_hook(put_back))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
