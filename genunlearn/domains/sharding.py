"""Weights cut over several processes (FSDP2 or ZeRO-3), for networks that no single device holds.

Asked for by ``accelerate launch`` with ``configs/accelerate/fsdp2.yaml`` or ``zero3.yaml``. A network is cut when it is
loaded; each layer is put together while it is needed. So every process must do the same forward passes: what else is
shared among processes, such as the batches of a generation, is done by all of them. A LoRA is attached later and whole
in each process; ZeRO-3 cuts it too while it is trained. Weights on disk are always whole.

How cut weights are stepped is for `genunlearn.engine.updates` to say.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from genunlearn.domains import zero3
from genunlearn.errors import NeedNotMet
from genunlearn.processes import is_asked_for, this_process


def is_sharding_asked() -> bool:
    """Whether the launcher asks for sharded weights.

    Raises:
        NeedNotMet: It asks for a kind that is not supported, or whose package is not installed.
    """
    if is_asked_for("DEEPSPEED"):
        zero3.settings()
    elif not is_asked_for("FSDP"):
        return False
    elif (version := os.environ.get("FSDP_VERSION", "1")) != "2":
        raise NeedNotMet(f"FSDP_VERSION = {version}: only 2 is supported: launch with configs/accelerate/fsdp2.yaml")
    return this_process().num_processes > 1


def shard(network: Any) -> Any:
    """Cut a network that lies on the CPU; its parts go to the devices of their processes.

    Raises:
        NeedNotMet: Its weights are in 4 bits or, for FSDP2, its layers stand in no list.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    if not all(weight.is_floating_point() for weight in network.parameters()):
        raise NeedNotMet("weights in 4 bits cannot be sharded: set model.quantize = 'none'")
    if is_asked_for("DEEPSPEED"):
        return zero3.shard(network)
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
    return any(map(is_cut, network.parameters()))


def refuse_sharded(network: Any, what: str) -> None:
    """Refuse what is done to whole weights.

    Raises:
        NeedNotMet: Those of `network` are cut over several processes.
    """
    if is_sharded(network):
        raise NeedNotMet(f"{what} needs whole weights, and these are sharded: run one process")


def is_cut(weight: Tensor) -> bool:
    """Whether a process has a part of a weight only."""
    return isinstance(weight, DTensor) or zero3.is_cut(weight)


def shape_of(weight: Any) -> torch.Size:
    """The shape of a weight put together."""
    return weight.ds_shape if zero3.is_cut(weight) else weight.shape


def whole(tensor: Tensor) -> Tensor:
    """A tensor put together; every process has to ask."""
    if zero3.is_cut(tensor):
        return zero3.whole(tensor)
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def part(weight: Tensor) -> Tensor:
    """What this process has of a weight between trainings; what is written to it is in the weight."""
    if zero3.is_cut(weight):
        return zero3.part(weight)
    return weight.to_local() if isinstance(weight, DTensor) else weight


def fill(weight: Tensor, tensor: Tensor) -> None:
    """Put the values of a whole tensor into a weight, cut as that is; every process has to."""
    if zero3.is_cut(weight):
        zero3.fill(weight, tensor)
    else:
        weight.copy_(cut_as(weight, tensor))


def cut_as(pattern: Tensor, tensor: Tensor) -> Tensor:
    """A whole tensor, cut as `pattern` is where both have the same shape; every process has to ask."""
    if not isinstance(pattern, DTensor) or tensor.shape != pattern.shape:
        return tensor
    return distribute_tensor(tensor.to(pattern.device), pattern.device_mesh, pattern.placements)


@contextmanager
def gathered(network: Any) -> Iterator[None]:
    """Within the block the main process has whole weights, on the CPU, to be written; every process has to enter."""
    cut = [
        (part, name, weight)
        for part in network.modules()
        for name, weight in part.named_parameters(recurse=False)
        if is_cut(weight)
    ]
    made: dict[int, Any] = {}  # tied weights stay tied
    for part, name, weight in cut:
        if id(weight) not in made:
            full = whole(weight).detach().to("cpu", weight.dtype)
            made[id(weight)] = nn.Parameter(full, requires_grad=False) if this_process().is_main_process else weight
        part._parameters[name] = made[id(weight)]
    try:
        yield
    finally:
        for part, name, weight in cut:
            part._parameters[name] = weight
