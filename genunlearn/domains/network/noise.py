"""Inputs found by gradient: noise that a network takes for one class, or for anything but it.

Source: Tarun, Chundawat, Mandal, Kankanhalli, "Fast Yet Effective Machine Unlearning" (TNNLS 2023), eq. 3; the
minimising form is that of Chundawat et al., "Zero-Shot Machine Unlearning" (TIFS 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from genunlearn.contracts import Examples
from genunlearn.domains.network.base import INPUT, LabelledItem, NetworkDomain
from genunlearn.errors import MismatchError


@dataclass(frozen=True, kw_only=True)
class NoiseRecipe:
    """How noise is found.

    Attributes:
        count: Inputs that are found together.
        steps: Steps of Adam.
        learning_rate: Of Adam.
        l2_weight: Factor of the mean squared norm of an input, which keeps the noise small.
    """

    count: int
    steps: int
    learning_rate: float = 0.1
    l2_weight: float = 0.1


def input_shape(items: Sequence[LabelledItem]) -> torch.Size:
    """The shape of the one floating-point input of a network that takes noise.

    Raises:
        MismatchError: The network takes something else, such as token ids.
    """
    inputs = items[0].inputs
    if set(inputs) not in ({"x"}, {"pixel_values"}) or not next(iter(inputs.values())).is_floating_point():
        raise MismatchError(
            f"inputs {', '.join(inputs)}: noise in place of data needs one input of real numbers, such as a picture"
        )
    return next(iter(inputs.values())).shape


def find_noise(
    domain: NetworkDomain, label: int, example: LabelledItem, recipe: NoiseRecipe, *, is_maximising: bool, seed: int
) -> Tensor:
    """Inputs whose loss for `label` is as large, or as small, as possible; the weights stay.

    Args:
        domain: The network, asked in evaluation mode.
        label: The class.
        example: An item, looked at for the name and the shape of its input alone.
        recipe: How the noise is found.
        is_maximising: Whether the loss is raised or lowered.
        seed: Decides the normal noise to begin with.

    Returns:
        ``(count, ...)`` inputs on the CPU.
    """
    name, shape = next(iter(example.inputs)), input_shape([example])
    noise = torch.randn(recipe.count, *shape, generator=torch.Generator().manual_seed(seed))
    noise = noise.to(domain.device, domain.dtype).requires_grad_(True)
    targets = torch.full((recipe.count,), label, device=domain.device)
    optimizer = torch.optim.Adam([noise], lr=recipe.learning_rate)
    sign = -1.0 if is_maximising else 1.0
    with domain.inference():
        for _ in range(recipe.steps):
            batch = Examples((), torch.ones(recipe.count), {f"{INPUT}{name}": noise, "target": targets})
            loss = sign * domain.example_loss(batch).mean()
            size = noise.square().flatten(1).sum(1).mean()
            (noise.grad,) = torch.autograd.grad(loss + recipe.l2_weight * size, [noise])
            optimizer.step()
    return noise.detach().cpu()
