"""What networks take for the forgotten class, painted by model inversion and kept as pictures for the report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from genunlearn.attacks.network.inversion import ModelInversion
from genunlearn.contracts import Splits
from genunlearn.data.network.items import classes_of
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.ops.images import stretched, write_png

FOLDER = "images"
MOST_CLASSES = 4
MEAN = "mean"
"""What the mean of the forget set's pictures of a class goes by, beside the models."""


def paint_classes(
    attack: ModelInversion, models: Mapping[str, NetworkDomain], splits: Splits, folder: Path
) -> list[dict[str, Any]]:
    """Write one picture a model and forgotten class into ``folder/images``.

    Args:
        attack: How pictures are painted; what is written is their mean.
        models: The networks by name.
        splits: The request; only the forget items are looked at.
        folder: The run's.

    Returns:
        One row a class: ``prompt`` and the path of each model's picture; empty where items are no pictures.
    """
    inputs = list(splits.forget[0].inputs.values())
    if len(inputs) != 1 or inputs[0].dim() != 3 or inputs[0].shape[0] not in (1, 3):
        return []
    rows = []
    for label in classes_of(splits.forget)[:MOST_CLASSES]:
        own = [item for item in splits.forget if int(item.target) == label]
        mean = torch.stack([next(iter(item.inputs.values())) for item in own]).mean(0)
        painted = {name: attack.paint(model, label, own[0]).mean(0) for name, model in models.items()}
        row = {"group": "inversion", "prompt": f"class {label}"}
        for name, picture in {MEAN: mean, **painted}.items():
            row[name] = f"{FOLDER}/{name}-{label}.png"
            write_png(stretched(picture), folder / row[name])
        rows.append(row)
    return rows
