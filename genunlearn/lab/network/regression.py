"""``lab:diabetes`` and ``lab:tumours``: regression on measurements that come with scikit-learn.

    diabetes   442 patients, 10 measurements; predict the progress of the disease after a year (25 to 346)
    tumours    569 biopsies, 10 mean measurements of cell nuclei; predict the mean radius of the three largest (8 to 36)

The networks answer in the data's own unit, so that a range to be forgotten is asked for in that unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from genunlearn.data.network.items import as_items
from genunlearn.domains.network.classifier import Regressor
from genunlearn.domains.network.fitting import FitConfig
from genunlearn.errors import DataError
from genunlearn.lab.network.study import Data, Lab, Study, open_lab

TEST_SHARE = 0.2
HIDDEN = 64
DEFAULT_REQUESTS = {"diabetes": "range:..75", "tumours": "range:22.."}


class Affine(nn.Module):
    """``scale * x + shift`` with constants that are no weights: units of the data, standardised inside."""

    scale: Tensor
    shift: Tensor

    def __init__(self, scale: Any, shift: Any) -> None:
        """`scale` and `shift`: one number, or one for each column."""
        super().__init__()
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float32))
        self.register_buffer("shift", torch.as_tensor(shift, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, columns)`` in and out."""
        return self.scale * x + self.shift


def read_table(name: str) -> Data:
    """One of the two data sets, split once and for all."""
    from sklearn.model_selection import train_test_split

    columns, target = _columns(name)
    items = as_items((torch.from_numpy(columns).float(), torch.from_numpy(target).float()), prefix=f"{name}-")
    train, test = train_test_split(items, test_size=TEST_SHARE, random_state=0)
    return Data(train, test)


def build_network(name: str) -> Regressor:
    """Two hidden layers between fixed scalings, with fresh weights."""
    columns, target = _columns(name)
    spread, middle = columns.std(0), columns.mean(0)
    unit = float(target.std())
    module = nn.Sequential(
        Affine(1 / spread, -middle / spread),
        nn.Linear(columns.shape[1], HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, 1),
        Affine(unit, float(target.mean())),
    )
    return Regressor(module, scale=unit, feature_layers=("2", "4"))


def _columns(name: str) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_breast_cancer, load_diabetes

    if name == "diabetes":
        bundled = load_diabetes(scaled=False)
        return bundled.data, bundled.target
    bundled = load_breast_cancer()
    names = list(bundled.feature_names)
    return bundled.data[:, :10], bundled.data[:, names.index("worst radius")]


def _study(name: str, epochs: int, level: float) -> Study:
    return Study(
        name=name,
        read=partial(read_table, name),
        adapter=partial(build_network, name),
        settings=FitConfig(epochs=epochs, learning_rate=5e-3, batch_size=32, weight_decay=1e-3),
        level=level,
    )


STUDIES = {"diabetes": _study("diabetes", 12, 0.2), "tumours": _study("tumours", 20, 0.9)}


def load(name: str = "diabetes", request: str | None = None, *, seed: int = 0) -> Lab:
    """The lab `name` for a request, by default a range at one end of the targets.

    Raises:
        DataError: There is no such study, or the request cannot be met.
    """
    if name not in STUDIES:
        raise DataError(f"regression lab {name!r}: there are {', '.join(STUDIES)}")
    return open_lab(STUDIES[name], request or DEFAULT_REQUESTS[name], seed=seed)


def build_diabetes(*, without: Sequence[str] = (), force: bool = False, progress: bool = False) -> Path:
    """The folder of ``lab:diabetes``, or of an oracle without a request; `progress` shows nothing, it takes seconds."""
    return STUDIES["diabetes"].build(without, force=force)


def build_tumours(*, without: Sequence[str] = (), force: bool = False, progress: bool = False) -> Path:
    """The folder of ``lab:tumours``, or of an oracle without a request; `progress` shows nothing, it takes seconds."""
    return STUDIES["tumours"].build(without, force=force)
