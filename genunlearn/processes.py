"""This process among those that a launcher (torchrun, ``accelerate launch``) has started, and work that they share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import gather_object

from genunlearn.errors import GenunlearnError, NeedNotMet

Task = TypeVar("Task")
Done = TypeVar("Done")

PATIENCE = timedelta(days=1)
"""How long processes wait for each other: the longest task of one of them. A process that dies ends the others."""

_is_alone: ContextVar[bool] = ContextVar("is_alone", default=False)


def this_process() -> PartialState:
    """Rank, number of processes and device; the first call joins the others.

    It comes before anything is multiplied on a GPU: cuBLAS gives the same bits again only in a workspace of fixed size.
    Without an accelerator, processes talk over gloo: accelerate looks for that only where it is told to use the CPU.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    has_accelerator = torch.accelerator.is_available()
    if has_accelerator and not PartialState._shared_state:
        _check_devices(torch.accelerator.device_count())
    with without_deepspeed():
        return PartialState(cpu=not has_accelerator, timeout=PATIENCE)


def is_asked_for(kind: str) -> bool:
    """Whether the launcher asks for ``FSDP`` or ``DEEPSPEED``."""
    return os.environ.get(f"ACCELERATE_USE_{kind}", "false").lower() == "true"


@contextmanager
def without_deepspeed() -> Iterator[None]:
    """Within the block accelerate sees plain processes where the launcher asks for DeepSpeed.

    It would change how transformers loads a model and writes texts, and prepare one model for one training; here
    DeepSpeed is asked for its cutting and its step alone (`genunlearn.domains.zero3`).
    """
    asked = os.environ.pop(name := "ACCELERATE_USE_DEEPSPEED", None)
    try:
        yield
    finally:
        if asked is not None:
            os.environ[name] = asked


def _check_devices(count: int) -> None:
    """Refuse to share a GPU with another process of the same run: each holds the whole model, and NCCL gives up.

    Raises:
        NeedNotMet: The launcher has started more processes here than there are devices.
    """
    started = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if started > count and os.environ.get("ACCELERATE_USE_CPU", "false").lower() not in ("1", "true", "yes"):
        raise NeedNotMet(f"{started} processes on {count} GPU: start one for each (--num_processes {count})")


def in_turns(tasks: Sequence[Task], work: Callable[[int, Task], Done], *, is_joint: bool = False) -> list[Done]:
    """What `work` makes of each task and its place, in their order; several processes take tasks in turn.

    Every process has to call it with the same tasks, and gets all results. Within `work` a process is alone: what it
    would share otherwise it does by itself.

    Args:
        tasks: In an order that spreads the work, such as by length.
        work: Its results are pickled.
        is_joint: Whether each task takes all processes together, as with sharded weights.

    Raises:
        GenunlearnError: The first that `work` has raised, in every process.
    """
    process = this_process()
    if is_joint or _is_alone.get() or process.num_processes == 1:
        return [work(place, task) for place, task in enumerate(tasks)]
    done: dict[int, Done] = {}
    failed: list[GenunlearnError] = []
    with _alone():
        try:
            for place in range(process.process_index, len(tasks), process.num_processes):
                done[place] = work(place, tasks[place])
        except GenunlearnError as error:  # the others wait for this process, and have to learn of it
            failed.append(error)
    found = of_all((done, failed))
    if failures := [failure for _, failures in found for failure in failures]:
        raise failures[0]
    everything = {place: result for part, _ in found for place, result in part.items()}
    return [everything[place] for place in range(len(tasks))]


def summed(counts: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers by name, at any depth, summed over processes; each of them has to ask."""
    return _sum(of_all(dict(counts)))


def of_all(value: Done) -> list[Done]:
    """The value that each process has, in the order of their ranks; each of them has to ask."""
    if _is_alone.get() or this_process().num_processes == 1:
        return [value]
    return gather_object([value])


@contextmanager
def _alone() -> Iterator[None]:
    token = _is_alone.set(True)
    try:
        yield
    finally:
        _is_alone.reset(token)


def _sum(parts: Sequence[Any]) -> Any:
    if isinstance(parts[0], Mapping):
        return {key: _sum([part[key] for part in parts]) for key in parts[0]}
    return sum(parts)
