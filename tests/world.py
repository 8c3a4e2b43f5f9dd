"""What a little world is: a model that knows something, what it is to forget and what it is to keep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from genunlearn.contracts import Batch, Method, Splits


@dataclass(frozen=True)
class World:
    """A model with its data.

    Attributes:
        open: Gives the model, freshly loaded.
        splits: What to forget and what to keep; items of different lengths.
        options: ``(method, folder) -> fields`` that a method needs in so small a world, files written to `folder`.
        kind: What is trained of the model.
    """

    open: Callable[[], Any]
    splits: Splits
    options: Callable[[str, Path], dict[str, Any]]
    kind: Literal["lora", "full"] = "lora"

    def batch(self, model: Any, splits: Splits | None = None) -> Batch:
        """All items in one batch; a side without items is absent, as in training."""
        splits = splits or self.splits
        sides = {"forget": splits.forget, "retain": splits.retain}
        return Batch(**{side: model.collate(items) for side, items in sides.items() if items})

    def forget_loss(self, model: Any) -> float:
        """Mean training loss of what is to be forgotten."""
        with torch.no_grad():
            return model.example_loss(model.collate(self.splits.forget)).mean().item()

    def data(self, method: Method, model: Any) -> Splits:
        """What the method is given to train on."""
        return self.splits
