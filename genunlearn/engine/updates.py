"""How the gradients of a step reach the weights, by where the weights lie.

WholeUpdate    each process has all of them; gradients are exchanged after the last micro-batch
ShardedUpdate  FSDP2 has cut them; it exchanges the gradients of those, and a LoRA's are averaged here
Zero3Update    DeepSpeed has cut them; its engine does the backward pass and the step
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.distributed.tensor import DTensor
from typing_extensions import override

from genunlearn.domains import zero3
from genunlearn.domains.sharding import is_sharded
from genunlearn.engine.checkpoints import Stateful
from genunlearn.errors import NeedNotMet


class WholeUpdate:
    """Updates of weights that this process has whole.

    Attributes:
        param_groups: What is stepped, and its learning rate.
        state: What a checkpoint keeps.
    """

    def __init__(self, domain: Any, optimizer: torch.optim.Optimizer, accelerator: Accelerator, limit: float) -> None:
        """Begin a training.

        Args:
            domain: The model.
            optimizer: Over its trainable weights.
            accelerator: Device and processes.
            limit: Most norm of the gradient; longer ones are scaled down to it.
        """
        self._domain, self._accelerator, self._limit = domain, accelerator, limit
        self._optimizer = accelerator.prepare_optimizer(optimizer)
        self.state: Stateful = optimizer

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """What is stepped, and its learning rate."""
        return self._optimizer.param_groups

    def zero_grad(self) -> None:
        """Forget the gradients of the step before."""
        self._optimizer.zero_grad()

    def micro_batch(self, *, is_last: bool) -> AbstractContextManager[Any]:
        """The block in which a micro-batch of the step goes forward and back."""
        return nullcontext() if is_last else self._accelerator.no_sync(self._domain.module)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a micro-batch's loss to those of the step."""
        self._accelerator.backward(loss)

    def clip(self) -> Tensor:
        """Scale the step's gradient down to the limit; returns its norm before, which may not be finite."""
        return torch.as_tensor(self._accelerator.clip_grad_norm_(self._domain.module.parameters(), self._limit))

    def step(self) -> None:
        """Change the weights."""
        self._optimizer.step()

    def end(self) -> None:
        """End the training: the weights go back to where they are only asked."""


class ShardedUpdate(WholeUpdate):
    """Updates of weights that FSDP2 has cut, and of a LoRA beside them, which is whole."""

    @override
    def micro_batch(self, *, is_last: bool) -> AbstractContextManager[Any]:
        return nullcontext()

    @override
    def clip(self) -> Tensor:
        for weight in self._domain.network.parameters():
            if weight.grad is not None and not isinstance(weight.grad, DTensor):
                torch.distributed.all_reduce(weight.grad)
                weight.grad /= self._accelerator.num_processes
        norm = super().clip()
        return norm.full_tensor() if isinstance(norm, DTensor) else norm


class Zero3Update(WholeUpdate):
    """Updates of weights that DeepSpeed has cut; moments are put together for a checkpoint, and cut again from it."""

    def __init__(self, domain: Any, optimizer: torch.optim.Optimizer, accelerator: Accelerator, limit: float) -> None:
        """Begin a training.

        Raises:
            NeedNotMet: The optimiser is not AdamW.
        """
        if type(optimizer) is not torch.optim.AdamW:
            raise NeedNotMet(f"ZeRO-3 cuts no {type(optimizer).__name__}: set train.optimizer = 'adamw'")
        self._domain, self._accelerator, self._limit = domain, accelerator, limit
        self._optimizer = optimizer
        self._engine = zero3.train(domain.network, optimizer, limit)
        self.state = zero3.Moments(self._engine)

    @override
    def zero_grad(self) -> None:
        zero3.forget_gradients(self._engine)

    @override
    def micro_batch(self, *, is_last: bool) -> AbstractContextManager[Any]:
        self._engine.optimizer.clear_backward_seen_flag()  # or its gradients would take the place of those before
        return nullcontext()

    @override
    def backward(self, loss: Tensor) -> None:
        self._engine.backward(loss)

    @override
    def clip(self) -> Tensor:
        return zero3.gradient_norm(self._engine)  # the engine does the clipping within its step

    @override
    def step(self) -> None:
        self._engine.step()

    @override
    def end(self) -> None:
        zero3.rest(self._domain.network)


def update_of(domain: Any, optimizer: torch.optim.Optimizer, accelerator: Accelerator, limit: float) -> WholeUpdate:
    """Begin a training of `domain`, by where its weights lie."""
    kind = WholeUpdate
    if is_sharded(domain.network):
        kind = Zero3Update if any(map(zero3.is_cut, domain.network.parameters())) else ShardedUpdate
    return kind(domain, optimizer, accelerator, limit)
