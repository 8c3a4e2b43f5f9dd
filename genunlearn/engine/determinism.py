"""The same bits from the same numbers on a GPU too, as far as it has algorithms for that."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

LACKING = (
    r"(?P<name>[\w .:]+?) (does not have a deterministic implementation|defaults to a non-deterministic algorithm)"
)
"""What torch says where it takes an algorithm that may give other bits the next time."""


@contextmanager
def reproducible(device: torch.device) -> Iterator[set[str]]:
    """Within the block a GPU takes deterministic algorithms; on the CPU nothing changes.

    Where there is none, the other is taken. cuBLAS also asks for an environment variable, which
    `genunlearn.processes.this_process` sets.

    Args:
        device: What the block computes on.

    Yields:
        Names of operations that had no deterministic algorithm, as torch calls them; it grows within the block.
    """
    lacking: set[str] = set()
    if device.type != "cuda":
        yield lacking
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    fills, show = memory.fill_uninitialized_memory, warnings.showwarning

    def note(message: Warning | str, *rest: object, **more: object) -> None:
        if found := re.match(LACKING, str(message)):
            lacking.add(found["name"])
        else:
            show(message, *rest, **more)  # type: ignore[arg-type]

    with warnings.catch_warnings():
        warnings.filterwarnings("always", message=LACKING)
        warnings.showwarning = note
        try:
            torch.use_deterministic_algorithms(True, warn_only=not before[0] or before[1])
            memory.fill_uninitialized_memory = False  # whoever reads it has a fault of another kind
            yield lacking
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])
            memory.fill_uninitialized_memory = fills
