"""This process among those that a launcher (torchrun, ``accelerate launch``) has started."""

from __future__ import annotations

import os

import torch
from accelerate import PartialState


def this_process() -> PartialState:
    """Rank, number of processes and device; the first call joins the others.

    It comes before anything is multiplied on a GPU: cuBLAS gives the same bits again only in a workspace of fixed size.
    Without an accelerator, processes talk over gloo: accelerate looks for that only where it is told to use the CPU.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return PartialState(cpu=not torch.accelerator.is_available())
