"""A module lent for the time of a block, which may change its weights and leaves everything else as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from genunlearn.errors import RunError

SHORT = (torch.float16, torch.bfloat16)
"""Numbers too short to be trained: an optimiser's steps are smaller than their spacing, its epsilon is 0."""


@dataclass(frozen=True)
class _Loan:
    """A tensor of the module, what it held, and what belongs to it."""

    name: str
    tensor: Tensor
    own: Tensor
    needs_grad: bool
    grad: Tensor | None


@contextmanager
def borrowed(module: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Let a block change the values of a module's weights and buffers, and nothing else.

    Within the block they hold copies, 16-bit ones in float32. At its end the values are written into the module's own
    memory, in its own precision, layout and place. Gradients, what is frozen and the mode of each part are as before;
    if the block fails, so are the values.

    Yields:
        The values as they were, by name.

    Raises:
        RunError: A value is not finite, or too large for the precision that it had.
    """
    modes = [(part, part.training) for part in module.modules()]
    homes = [(part, name, buffer) for part in module.modules() for name, buffer in part.named_buffers(recurse=False)]
    named = [*module.named_parameters(), *module.named_buffers()]
    loans = [_Loan(name, tensor, tensor.data, tensor.requires_grad, tensor.grad) for name, tensor in named]
    copies: dict[tuple[object, ...], Tensor] = {}
    try:
        for loan in loans:
            loan.tensor.grad = None
            loan.tensor.data = copies.setdefault(_place(loan.own), _stand_in(loan.own))
        yield {loan.name: loan.own for loan in loans}
        for part, name, buffer in homes:
            _take_over(part, name, buffer)
        for loan, values in [(loan, _checked(loan)) for loan in loans]:
            loan.own.copy_(values)
    finally:
        for part, name, buffer in homes:
            setattr(part, name, buffer)
        for loan in loans:
            loan.tensor.grad = None
            loan.tensor.data = loan.own
            loan.tensor.requires_grad_(loan.needs_grad)
            loan.tensor.grad = loan.grad
        for part, is_training in modes:
            part.training = is_training


def _place(tensor: Tensor) -> tuple[object, ...]:
    """Where a tensor lies: what shares its memory goes on sharing it."""
    if tensor.numel() == 0:
        return (id(tensor),)
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype


def _stand_in(own: Tensor) -> Tensor:
    return own.to(torch.float32) if own.dtype in SHORT else own.clone()


def _take_over(part: nn.Module, name: str, buffer: Tensor) -> None:
    """Follow a module that has put another tensor in a buffer's place."""
    now = getattr(part, name)
    if now is not buffer and isinstance(now, Tensor) and now.shape == buffer.shape:
        buffer.data.copy_(now)


def _checked(loan: _Loan) -> Tensor:
    values = loan.tensor.data.to(loan.own.dtype)
    if values.is_floating_point() and not values.isfinite().all() and loan.own.isfinite().all():
        raise RunError(f"{loan.name!r} has values outside {loan.own.dtype}: lower train.learning_rate")
    return values
