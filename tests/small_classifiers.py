"""A picture classifier in the hub's format that has learnt three blots, and a folder with its data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from genunlearn.data.network.items import as_items
from genunlearn.domains.network.classifier import Classifier
from genunlearn.domains.network.fitting import FitConfig, fit

SIDE = 8
TRAIN, TEST = 72, 30


def blots(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy pictures with a bright corner each, and the number of the corner (0, 1, 2)."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    pictures = generator.normal(0, 0.6, (count, 1, SIDE, SIDE)).astype(np.float32)
    half = SIDE // 2
    for picture, label in zip(pictures, labels, strict=True):
        row, column = divmod(int(label), 2)
        picture[0, row * half : (row + 1) * half, column * half : (column + 1) * half] += 2.0
    return pictures, labels


def write_data(folder: Path) -> Path:
    """``train.npz`` and ``test.npz``."""
    folder.mkdir(parents=True)
    for name, count, seed in (("train", TRAIN, 0), ("test", TEST, 1)):
        pictures, labels = blots(count, seed)
        np.savez(folder / f"{name}.npz", x=pictures, y=labels)
    return folder


def write_model(folder: Path, *, without: int | None = None, seed: int = 0) -> Path:
    """A network with BatchNorm that was taught the training data, perhaps without a class."""
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(
        num_channels=1, embedding_size=8, hidden_sizes=[8], depths=[1], layer_type="basic", num_labels=3
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Classifier(ResNetForImageClassification(config), learns_statistics=True)
    items = [item for item in as_items(blots(TRAIN, 0)) if int(item.target) != without]
    fit(model, items, FitConfig(epochs=20, learning_rate=0.02, batch_size=24), seed=seed)
    model.save(folder)
    return folder
