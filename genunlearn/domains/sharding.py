"""Weights cut over several processes (FSDP2), for networks that no single device holds.

Asked for by ``accelerate launch`` with ``configs/accelerate/fsdp2.yaml``. A network is cut when it is loaded, layer
by layer; each layer is put together while it is needed. So every process must do the same forward passes: what else is
shared among processes, such as the batches of a generation, is done by all of them. A LoRA is attached later and stays
whole in each process; its gradients are averaged by `average_gradients`. Weights on disk are always whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from genunlearn.errors import NeedNotMet
from genunlearn.processes import this_process


def is_sharding_asked() -> bool:
    """Whether the launcher asks for sharded weights.

    Raises:
        NeedNotMet: It asks for a kind that is not supported.
    """
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true":
        raise NeedNotMet(
            "DeepSpeed is not supported: its engine takes over backward pass, optimiser and checkpoints; launch with "
            "configs/accelerate/fsdp2.yaml, which shards weights too"
        )
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() != "true":
        return False
    if (version := os.environ.get("FSDP_VERSION", "1")) != "2":
        raise NeedNotMet(f"FSDP_VERSION = {version}: only 2 is supported: launch with configs/accelerate/fsdp2.yaml")
    return this_process().num_processes > 1


def shard(network: Any) -> Any:
    """Cut a network that lies on the CPU; its parts go to the devices of their processes.

    Raises:
        NeedNotMet: Its layers stand in no list, or its weights are in 4 bits.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    if not all(weight.is_floating_point() for weight in network.parameters()):
        raise NeedNotMet("weights in 4 bits cannot be sharded: set model.quantize = 'none'")
    count = network.config.get_text_config().num_hidden_layers
    layers = [part for part in network.modules() if isinstance(part, nn.ModuleList) and len(part) == count]
    if not layers:
        raise NeedNotMet(f"no list of {count} layers in {type(network).__name__}: it cannot be sharded layer by layer")
    process = this_process()
    mesh = init_device_mesh(process.device.type, (process.num_processes,))
    for layer in layers[0]:
        fully_shard(layer, mesh=mesh, reshard_after_forward=True)
    return fully_shard(network, mesh=mesh, reshard_after_forward=True)


def is_sharded(network: Any) -> bool:
    """Whether weights of a network are cut over processes."""
    return any(isinstance(weight, DTensor) for weight in network.parameters())


def whole(tensor: Tensor) -> Tensor:
    """A tensor put together; every process has to ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def cut_as(pattern: Tensor, tensor: Tensor) -> Tensor:
    """A whole tensor, cut as `pattern` is where both have the same shape; every process has to ask."""
    if not isinstance(pattern, DTensor) or tensor.shape != pattern.shape:
        return tensor
    return distribute_tensor(tensor.to(pattern.device), pattern.device_mesh, pattern.placements)


def average_gradients(weights: Mapping[str, nn.Parameter]) -> None:
    """Average the gradients of weights that each process has whole; those of cut weights come averaged."""
    process = this_process()
    for weight in weights.values():
        if weight.grad is not None and not isinstance(weight.grad, DTensor):
            torch.distributed.all_reduce(weight.grad)
            weight.grad /= process.num_processes


@contextmanager
def gathered(network: Any) -> Iterator[None]:
    """Within the block the main process has whole weights, on the CPU, to be written; every process has to enter."""
    cut = [
        (part, name, weight)
        for part in network.modules()
        for name, weight in part.named_parameters(recurse=False)
        if isinstance(weight, DTensor)
    ]
    made: dict[int, Any] = {}  # tied weights stay tied
    for part, name, weight in cut:
        if id(weight) not in made:
            full = whole(weight.detach()).cpu()
            made[id(weight)] = nn.Parameter(full, requires_grad=False) if this_process().is_main_process else weight
        part._parameters[name] = made[id(weight)]
    try:
        yield
    finally:
        for part, name, weight in cut:
            part._parameters[name] = weight
