"""Evaluation mode for as long as a block runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode within the block, whatever ends it; the mode from before afterwards."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)
