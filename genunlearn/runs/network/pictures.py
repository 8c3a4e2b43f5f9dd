"""What networks take for the forgotten class, painted by model inversion and kept as pictures for the report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genunlearn.attacks.network.inversion import ModelInversion
from genunlearn.contracts import Splits
from genunlearn.data.network.items import classes_of
from genunlearn.domains.network.base import NetworkDomain

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
    (folder / FOLDER).mkdir(exist_ok=True)
    rows = []
    for label in classes_of(splits.forget)[:MOST_CLASSES]:
        own = [item for item in splits.forget if int(item.target) == label]
        mean = torch.stack([next(iter(item.inputs.values())) for item in own]).mean(0)
        painted = {name: attack.paint(model, label, own[0]).mean(0) for name, model in models.items()}
        row = {"group": "inversion", "prompt": f"class {label}"}
        for name, picture in {MEAN: mean, **painted}.items():
            row[name] = f"{FOLDER}/{name}-{label}.png"
            _write(picture, folder / row[name])
        rows.append(row)
    return rows


def _write(picture: Tensor, path: Path) -> None:
    """Save ``(channels, height, width)`` as PNG, its smallest value black and its largest white."""
    from PIL import Image

    low, high = float(picture.min()), float(picture.max())
    levels = ((picture - low) / max(high - low, 1e-12) * 255).round().to(torch.uint8)
    shown = levels[0].numpy() if len(levels) == 1 else levels.permute(1, 2, 0).numpy()
    Image.fromarray(shown).save(path)
