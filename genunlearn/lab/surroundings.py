"""What a build needs around it to come out the same every time, and quietly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

THREADS = 2
"""Fixed, because the number of threads decides the order of float additions and so the weights."""


@contextmanager
def surroundings(seed: int) -> Iterator[None]:
    """Fixed threads and random state, and no progress bars of diffusers or transformers; all as before afterwards."""
    import torch
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    threads = torch.get_num_threads()
    shown = [log for log in (diffusers_logging, transformers_logging) if log.is_progress_bar_enabled()]
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
