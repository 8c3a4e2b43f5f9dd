"""State of a run on disk, one safetensors file, so that a killed run goes on to the same weights.

The file holds the trained weights, the optimiser's state and, as JSON in its header, where training stands. Nothing
else is needed: batches and random numbers are functions of seed and step.

On an accelerator a state is copied into memory at once and written beside training; the next one waits for it, and so
does whoever reads. A file is whole or that of before in any case.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from genunlearn.domains.sharding import cut_as, fill, shape_of, whole
from genunlearn.errors import DataError
from genunlearn.records import replacing


class Stateful(Protocol):
    """An optimiser, or several as one."""

    def state_dict(self) -> dict[str, Any]:
        """``state`` by the number of the parameter."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Take such a state in."""


@dataclass(frozen=True)
class Position:
    """Where training stands: which call of the loop, how many steps of it are done, whether it has ended."""

    phase: int
    step: int
    is_done: bool
    history: list[dict[str, float]]


def writes_beside(device: torch.device) -> bool:
    """Whether states are written beside training on this device: on the CPU both would take the same cores."""
    return device.type != "cpu"


class Checkpoints:
    """The latest state of one run in ``folder/NAME.safetensors``."""

    def __init__(self, folder: Path, name: str = "state", *, is_deferred: bool = False) -> None:
        """`folder`: made when first written to; `is_deferred`: whether `save` returns before its file is there."""
        self.path = folder / f"{name}.safetensors"
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint") if is_deferred else None
        self._written: Future[None] | None = None

    def flush(self) -> None:
        """Wait until what was saved last is on disk; raises what its writing has raised."""
        written, self._written = self._written, None
        if written is not None:
            written.result()

    def position(self) -> Position | None:
        """Where the saved run stands, or None if nothing is saved."""
        self.flush()
        if not self.path.is_file():
            return None
        with safe_open(self.path, "np") as file:  # "pt" opens it a second time, when it may be another file
            return Position(**json.loads(file.metadata()["position"]))

    def save(
        self, position: Position, weights: dict[str, Tensor], optimizer: Stateful | None, *, is_written: bool = True
    ) -> None:
        """Write the state in one step; of sharded weights in each process, one of which writes.

        Where writing is deferred, a state that says that it is done is on disk when this returns.
        """
        tensors = {f"weight/{name}": _plain(p) for name, p in weights.items()}
        numbers: dict[str, Any] = {}
        for key, value in _leaves(optimizer.state_dict()["state"] if optimizer else {}):
            if isinstance(value, Tensor):
                tensors[f"optimizer/{key}"] = _plain(value)
            else:
                numbers[key] = value
        if not is_written:
            return
        metadata = {"position": json.dumps(vars(position)), "optimizer": json.dumps(numbers)}
        if self._writer is None:
            self._write(tensors, metadata)
            return
        self.flush()
        self._written = self._writer.submit(self._write, tensors, metadata)
        if position.is_done:
            self.flush()

    def _write(self, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        with replacing(self.path) as temporary:
            save_file(tensors, temporary, metadata=metadata)

    def restore(self, module: nn.Module, optimizer: Stateful | None = None) -> None:
        """Put saved weights, and the optimiser's state if one is given, back in place.

        Raises:
            DataError: The saved weights are not those of `module`: another model or another configuration.
        """
        self.flush()
        own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        states: dict[int, dict[str, Any]] = {}
        with safe_open(self.path, "pt") as file, torch.no_grad():
            for key in file.keys():  # noqa: SIM118
                room, _, name = key.partition("/")
                tensor = file.get_tensor(key)
                if room == "optimizer":
                    _plant(states, name, tensor)
                elif name not in own or shape_of(own[name]) != tensor.shape:
                    raise DataError(f"{self.path}: saved weight {name!r} does not fit this model; start a fresh --out")
                else:
                    fill(own[name], tensor)
            for key, value in json.loads(file.metadata()["optimizer"]).items():
                _plant(states, key, value)
        if optimizer is not None:
            if isinstance(optimizer, torch.optim.Optimizer):
                trained = [weight for group in optimizer.param_groups for weight in group["params"]]
                for index, state in states.items():
                    moved = {key: value for key, value in state.items() if isinstance(value, Tensor)}
                    state |= {key: cut_as(trained[index], value) for key, value in moved.items()}
            optimizer.load_state_dict({**optimizer.state_dict(), "state": states})


def _leaves(state: Mapping[Any, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Values of nested mappings with their paths; 8-bit optimisers keep theirs two levels deep."""
    for key, value in state.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}{key}/")
        else:
            yield f"{path}{key}", value


def _plant(states: dict[int, dict[str, Any]], path: str, value: Any) -> None:
    """Put a value back where `_leaves` found it; the first part of the path is the number of a parameter."""
    index, *between, last = path.split("/")
    place = states.setdefault(int(index), {})
    for key in between:
        place = place.setdefault(key, {})
    place[last] = value


def _plain(tensor: Tensor) -> Tensor:
    return whole(tensor).detach().cpu().contiguous().clone()
