"""This process among those that a launcher (torchrun, ``accelerate launch``) has started."""

from __future__ import annotations

import torch
from accelerate import PartialState


def this_process() -> PartialState:
    """Rank, number of processes and device; the first call joins the others.

    Without an accelerator, processes talk over gloo: accelerate looks for that only where it is told to use the CPU.
    """
    return PartialState(cpu=not torch.accelerator.is_available())
