"""Measuring classifiers and regressors: a suite of metrics, and the curve of a membership test; plain JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from genunlearn.contracts import ORACLE, Beside, Suite
from genunlearn.data.network.items import Item
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.evaluation.network.predictions import Predictions
from genunlearn.evaluation.pooling import pool
from genunlearn.ops.membership import roc

SHARES = ("accuracy", "tow", "zrf")
"""Metrics between 0 and 1, whose intervals over oracles are cut there."""
RATES = np.linspace(0, 1, 101)
"""False positive rates that a membership curve is kept at."""


class NetworkProbe:
    """Measures one network after the other on the same data, with the same oracles beside them."""

    def __init__(
        self,
        suite: Suite,
        data: Mapping[str, Sequence[Item]],
        holdout: Sequence[Item],
        beside: Beside[NetworkDomain],
        batch_size: int,
    ) -> None:
        """Take the data by group, and unseen items to compare ``forget`` with; nothing is computed yet."""
        self._suite, self._data, self._holdout, self._batch_size = suite, data, holdout, batch_size
        self._oracles: list[Predictions] = beside.once("predictions", lambda: self._predictions(beside.oracles))

    def measure(self, model: NetworkDomain, target: str) -> dict[str, Any]:
        """Results of the suite, and the membership curve."""
        seen = Predictions(model, self._data, oracles=self._oracles, batch_size=self._batch_size)
        results = self._suite.measure(seen, target)
        return {"results": [asdict(result) for result in results], "roc": self._curve(model)}

    def measure_oracles(self) -> dict[str, Any]:
        """The same of the oracles: means over them, with t-intervals."""
        runs = [self._suite.measure(oracle, ORACLE) for oracle in self._oracles]
        results = [asdict(pool(column, SHARES)) for column in zip(*runs, strict=True)]
        curves = [curve for oracle in self._oracles if (curve := self._curve(oracle.model))]
        mean = np.mean(curves, axis=0).tolist() if curves else []
        return {"results": results, "roc": mean}

    def _predictions(self, oracles: Sequence[NetworkDomain]) -> list[Predictions]:
        found = [Predictions(one, self._data, batch_size=self._batch_size) for one in oracles]
        for oracle in found:
            oracle.oracles = tuple(found)
        return found

    def _curve(self, model: NetworkDomain) -> list[float]:
        """True positive rates at `RATES`, members being those with the smaller loss; empty without non-members."""
        if not self._holdout:
            return []
        asked = (self._data["forget"], self._holdout)
        members, outside = (-_losses(model, items, self._batch_size) for items in asked)
        rates, found = np.array(roc(members, outside)).T
        return [round(float(found[place]), 6) for place in np.searchsorted(rates, RATES, side="right") - 1]


def _losses(model: NetworkDomain, items: Sequence[Item], batch_size: int) -> Any:
    return model.loss_of(model.predict(items, batch_size), torch.stack([item.target for item in items]))
