"""MNIST from a file ``mnist.npz`` with ``x_train``, ``y_train``, ``x_test`` and ``y_test``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import avg_pool2d

from genunlearn.data.network.items import Item, as_items
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.domains.network.classifier import Classifier
from genunlearn.domains.network.fitting import FitConfig, fit
from genunlearn.lab.network.digits import build_resnet

WIDTH = 8
LESSONS = FitConfig(epochs=3, learning_rate=0.01, batch_size=64)


def read_mnist(path: Path, train: int, test: int) -> tuple[list[Item], list[Item]]:
    """So many training and test digits, drawn once and for all: 14 x 14 pixels with values in [-1, 1]."""
    with np.load(path, allow_pickle=False) as file:
        return _draw(file["x_train"], file["y_train"], train), _draw(file["x_test"], file["y_test"], test)


def teach(items: Sequence[Item], seed: int) -> Classifier:
    """The small residual network of the lab, taught `items` from fresh weights."""
    model = Classifier(build_resnet(10, WIDTH))
    model.reinitialise(seed)
    fit(model, items, LESSONS, seed=seed)
    model.learns_statistics = False
    return model


def accuracy(model: NetworkDomain, items: Sequence[Item]) -> float:
    """Share of items that are classified rightly."""
    answers = model.predict(items).argmax(1)
    return float((answers == torch.stack([item.target for item in items])).double().mean())


def _draw(pictures: np.ndarray, labels: np.ndarray, count: int) -> list[Item]:
    """The files may be sorted by digit, so the first ones would not do."""
    rows = np.random.default_rng(0).permutation(len(labels))[:count]
    x = avg_pool2d(torch.from_numpy(pictures[rows]).float()[:, None] / 127.5 - 1, 2)
    return as_items((x, torch.from_numpy(labels[rows]).long()), prefix="mnist-")
