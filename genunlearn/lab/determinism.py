"""What a build needs around it to come out the same every time, and quietly."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager

THREADS = 2
"""Fixed, because the number of threads decides the order of float additions and so the weights."""
FEW = 1
"""The same for networks so small that they gain nothing by more."""


@contextmanager
def surroundings(seed: int) -> Iterator[None]:
    """Fixed threads and random state, and no progress bars of libraries; all as before afterwards."""
    import torch
    from transformers.utils import logging

    threads, loaded = torch.get_num_threads(), [logging]
    if "diffusers" in sys.modules:  # an extra, which language models do without
        loaded.append(importlib.import_module("diffusers.utils.logging"))
    shown = [log for log in loaded if log.is_progress_bar_enabled()]
    torch.set_num_threads(THREADS)
    for log in shown:
        log.disable_progress_bar()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
        for log in shown:
            log.enable_progress_bar()


@contextmanager
def fixed_threads(threads: int = FEW) -> Iterator[None]:
    """Compute with so many threads within the block."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
