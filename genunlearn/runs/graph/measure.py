"""Measuring graph networks: a suite of metrics, plain JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from genunlearn.contracts import ORACLE, Beside, Suite
from genunlearn.data.graph.graph import GraphItem
from genunlearn.domains.graph.adapter import GraphModel
from genunlearn.evaluation.graph.metrics import SHARES
from genunlearn.evaluation.graph.predictions import GraphPredictions
from genunlearn.evaluation.pooling import pool


class GraphProbe:
    """Measures one network after the other on the same data, with the original and the same oracles beside them."""

    def __init__(self, suite: Suite, data: Mapping[str, Sequence[GraphItem]], beside: Beside[GraphModel]) -> None:
        """Take the data by group."""
        self._suite, self._data = suite, data
        self._original: GraphPredictions | None = beside.once("original predictions", lambda: self._first(beside))
        self._oracles: list[GraphPredictions] = beside.once("predictions", lambda: self._controls(beside))

    def measure(self, model: GraphModel, target: str) -> dict[str, Any]:
        """Results of the suite; which retain items the network tells."""
        seen = GraphPredictions(model, self._data, original=self._original, oracles=self._oracles)
        kept = seen.kept("retain").tolist() if "retain" in seen.data else []
        return {"results": [asdict(result) for result in self._suite.measure(seen, target)], "kept": kept}

    def measure_oracles(self) -> dict[str, Any]:
        """The same of the oracles: means over them, with t-intervals."""
        runs = [self._suite.measure(oracle, ORACLE) for oracle in self._oracles]
        return {"results": [asdict(pool(column, SHARES)) for column in zip(*runs, strict=True)]}

    def _first(self, beside: Beside[GraphModel]) -> GraphPredictions | None:
        return GraphPredictions(beside.original, self._data) if beside.original else None

    def _controls(self, beside: Beside[GraphModel]) -> list[GraphPredictions]:
        found = [GraphPredictions(one, self._data, original=self._original) for one in beside.oracles]
        for oracle in found:
            oracle.oracles = tuple(found)
        return found
