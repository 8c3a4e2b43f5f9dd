"""What networks take for the forgotten class, as attacks have painted it, kept as pictures for the report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from genunlearn.contracts import Attack, Splits
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.ops.images import stretched, write_png

FOLDER = "images"
MEAN = "mean"
"""What the mean of the forget set's pictures of a class goes by, beside the models."""


def paint_classes(
    attack: Attack[NetworkDomain], models: Mapping[str, NetworkDomain], splits: Splits[Any], folder: Path
) -> list[dict[str, Any]]:
    """Write one picture a model and forgotten class into ``folder/images``.

    Args:
        attack: How pictures are painted; what is written is their mean.
        models: The networks by name.
        splits: The request; only the forget items are looked at.
        folder: The run's.

    Returns:
        One row a class: ``prompt`` and the path of each model's picture; empty for attacks that paint none.
    """
    painted = {name: attack.illustrate(model, splits) for name, model in models.items()}
    rows = []
    for what in next(iter(painted.values())):
        label = what.split()[-1]
        own = [next(iter(item.inputs.values())) for item in splits.forget if str(int(item.target)) == label]
        row = {"group": "inversion", "prompt": what}
        means = {name: pictures[what].mean(0) for name, pictures in painted.items()}
        for name, picture in {MEAN: torch.stack(own).mean(0), **means}.items():
            row[name] = f"{FOLDER}/{name}-{label}.png"
            write_png(stretched(picture), folder / row[name])
        rows.append(row)
    return rows
