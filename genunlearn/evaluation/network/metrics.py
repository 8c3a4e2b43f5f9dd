"""Metrics of classifiers and regressors: what is still known, and how near that is to never having learnt it.

No accuracy is good or bad by itself on the forget set: the aim is what oracles do there. Where a network stands among
its own oracles, it is compared with the others: that row of a table shows how far apart two networks are that differ
by their seed alone.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from statistics import fmean
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from genunlearn.contracts import Metric, Suite
from genunlearn.evaluation.network.predictions import Predictions
from genunlearn.ops import intervals
from genunlearn.ops.randomness import zero_retrain_forgetting, zero_retrain_forgetting_authors
from genunlearn.records import Result

FORGET = "forget"
SIDES = (FORGET, "retain", "test")
LEAST_ORACLES = 3

CLASSIFIER = frozenset({"classifier", "federated"})
REGRESSION = frozenset({"regression"})

Estimate = tuple[float, float | None, float | None]


class PredictionMetric(Metric):
    """A metric from `Predictions`.

    Attributes:
        domains: Where it applies.
        compares: Whether it needs an oracle and is a distance from it, so that its direction holds on the forget set.
    """

    domains: ClassVar[frozenset[str]]
    compares: ClassVar[bool] = False

    def measure(self, probes: Predictions, target: str) -> list[Result]:
        """Results for the model `target`; one that is skipped where the metric does not apply or lacks something."""
        if probes.model.name not in self.domains:
            return [self.skip(target, f"for {' and '.join(sorted(self.domains))}, not for {probes.model.name}")]
        if self.compares and not probes.others:
            return [self.skip(target, "needs an oracle to compare with")]
        return self.values(probes, target)

    @abc.abstractmethod
    def values(self, probes: Predictions, target: str) -> list[Result]:
        """Results where the metric applies."""

    def result(self, target: str, group: str | None, estimate: Estimate, n: int) -> Result:
        """A result of this metric."""
        value, low, high = estimate
        better = self.higher_is_better if self.compares or group != FORGET else None
        return Result(
            name=self.name, group=group, target=target, value=value, low=low, high=high, n=n,
            version=self.version, higher_is_better=better,
        )  # fmt: skip

    def skip(self, target: str, reason: str, group: str | None = None) -> Result:
        """The result where there is no value."""
        return Result(name=self.name, target=target, group=group, value=None, version=self.version, skipped=reason)


class GroupMetric(PredictionMetric):
    """A metric with one value for each group."""

    def values(self, probes: Predictions, target: str) -> list[Result]:
        """One result a group."""
        return [
            self.result(target, group, self.estimate(probes, group), len(items)) for group, items in probes.data.items()
        ]

    @abc.abstractmethod
    def estimate(self, probes: Predictions, group: str) -> Estimate:
        """Value and interval for one group."""


class Accuracy(GroupMetric):
    """Share of items whose most probable class is the true one, with its exact interval."""

    name: ClassVar[str] = "accuracy"
    higher_is_better: ClassVar[bool | None] = True
    domains: ClassVar[frozenset[str]] = CLASSIFIER

    @override
    def estimate(self, probes: Predictions, group: str) -> Estimate:
        correct = probes.correct(group)
        return intervals.share(int(correct.sum()), len(correct))


class MeanAbsoluteError(GroupMetric):
    """Mean absolute error in the targets' unit."""

    name: ClassVar[str] = "mean_absolute_error"
    higher_is_better: ClassVar[bool | None] = False
    domains: ClassVar[frozenset[str]] = REGRESSION

    def estimate(self, probes: Predictions, group: str) -> Estimate:
        """Value and bootstrap interval for one group."""
        return intervals.mean(probes.absolute_errors(group).tolist())


class MeanSquaredError(GroupMetric):
    """Mean squared error in the targets' unit squared."""

    name: ClassVar[str] = "mean_squared_error"
    higher_is_better: ClassVar[bool | None] = False
    domains: ClassVar[frozenset[str]] = REGRESSION

    def estimate(self, probes: Predictions, group: str) -> Estimate:
        """Value and bootstrap interval for one group."""
        return intervals.mean((probes.outputs(group) - probes.targets(group)).square().mean(1).tolist())


class ActivationDistance(GroupMetric):
    """Mean over items of the Euclidean distance ``||softmax f(x) - softmax f_g(x)||`` from the oracle.

    With several oracles, an item's distance is the mean over them.

    Source: Chundawat et al., "Can Bad Teaching Induce Forgetting?" (AAAI 2023), after Golatkar, Achille, Soatto,
    "Eternal Sunshine of the Spotless Net" (CVPR 2020).
    """

    name: ClassVar[str] = "activation_distance"
    higher_is_better: ClassVar[bool | None] = False
    domains: ClassVar[frozenset[str]] = CLASSIFIER
    compares: ClassVar[bool] = True

    def estimate(self, probes: Predictions, group: str) -> Estimate:
        """Value and bootstrap interval for one group."""
        own = probes.outputs(group).softmax(1)
        distances = [(own - oracle.outputs(group).softmax(1)).norm(dim=1) for oracle in probes.others]
        return intervals.mean(torch.stack(distances).mean(0).tolist())


class Wasserstein(GroupMetric):
    """Wasserstein-1 distance between the network's and the oracle's predictions, in the targets' unit.

    It compares how predictions are distributed over a group, not item by item. The mean over oracles, and over the
    outputs where there are several; the interval is a t-interval over oracles.

    Source: Tarun, Chundawat, Mandal, Kankanhalli, "Deep Regression Unlearning" (ICML 2023), section 5; theirs is the
    value of the group ``forget`` with one oracle.
    """

    name: ClassVar[str] = "wasserstein"
    higher_is_better: ClassVar[bool | None] = False
    domains: ClassVar[frozenset[str]] = REGRESSION
    compares: ClassVar[bool] = True

    def estimate(self, probes: Predictions, group: str) -> Estimate:
        """Value and interval over oracles for one group."""
        own = probes.outputs(group).sort(0).values
        distances = [(own - oracle.outputs(group).sort(0).values).abs().mean() for oracle in probes.others]
        return _clipped(intervals.over_seeds([float(distance) for distance in distances]), math.inf)


class OracleGap(PredictionMetric):
    """Accuracy, or mean absolute error, less its mean over the oracles, by group; and the mean size of these gaps.

    The interval is the t prediction interval of the oracles' distribution: it holds 0 where the network could be one
    more oracle. Group ``mean`` averages the absolute gaps of forget, retain and test.
    """

    name: ClassVar[str] = "oracle_gap"
    domains: ClassVar[frozenset[str]] = CLASSIFIER | REGRESSION

    def values(self, probes: Predictions, target: str) -> list[Result]:
        """One result a group and their mean; skipped with fewer than three oracles."""
        if (given := len(probes.oracles)) < LEAST_ORACLES:
            return [self.skip(target, f"needs the distribution of {LEAST_ORACLES} oracles or more, {given} given")]
        results = []
        for group, items in probes.data.items():
            levels = [_level(oracle, group) for oracle in probes.others]
            gap, half = _level(probes, group) - fmean(levels), intervals.next_seed(levels)
            results.append(self.result(target, group, (gap, gap - half, gap + half), len(items)))
        return [*results, self._mean(results, target)]

    def _mean(self, results: Sequence[Result], target: str) -> Result:
        sides = [result for result in results if result.group in SIDES and result.value is not None]
        if len(sides) < len(SIDES):
            return self.skip(target, f"needs {', '.join(SIDES)} items", "mean")
        mean = fmean(abs(result.value or 0.0) for result in sides)
        return Result(
            name=self.name, group="mean", target=target, value=mean, n=sum(result.n for result in sides),
            version=self.version, higher_is_better=False,
        )  # fmt: skip


class ToW(PredictionMetric):
    """Tug of war: ``(1 - |gap forget|) (1 - |gap retain|) (1 - |gap test|)`` of accuracies against an oracle.

    1 is a network that is as accurate as the oracle everywhere. The mean over oracles, with a t-interval over them;
    ``Result.n`` counts them.

    Source: Zhao, Kurmanji, Barbulescu, Triantafillou, Triantafillou, "What makes unlearning hard and what to do about
    it" (NeurIPS 2024), section 3.
    """

    name: ClassVar[str] = "tow"
    higher_is_better: ClassVar[bool | None] = True
    domains: ClassVar[frozenset[str]] = CLASSIFIER
    compares: ClassVar[bool] = True

    def values(self, probes: Predictions, target: str) -> list[Result]:
        """One result, skipped where a side is missing."""
        if missing := [side for side in SIDES if side not in probes.data]:
            return [self.skip(target, f"needs {', '.join(missing)} items")]
        scores = [
            math.prod(1 - abs(_level(probes, side) - _level(oracle, side)) for side in SIDES)
            for oracle in probes.others
        ]
        return [self.result(target, None, _clipped(intervals.over_seeds(scores), 1.0), len(scores))]


class ZRF(PredictionMetric):
    """Zero retrain forgetting score of the forget set, see `genunlearn.ops.randomness`."""

    name: ClassVar[str] = "zrf"
    domains: ClassVar[frozenset[str]] = CLASSIFIER

    def values(self, probes: Predictions, target: str) -> list[Result]:
        """One result, with its bootstrap interval."""
        if FORGET not in probes.data:
            return [self.skip(target, "needs forget items")]
        scores = self.scores(probes.outputs(FORGET), probes.untrained_outputs(FORGET)).tolist()
        return [self.result(target, FORGET, intervals.mean(scores), len(scores))]

    def scores(self, logits: Tensor, untrained_logits: Tensor) -> Tensor:
        """The score of each item, ``(items,)``."""
        return zero_retrain_forgetting(logits, untrained_logits)


class ZRFAuthors(ZRF):
    """The score in the arithmetic of the authors' code, to be read beside published values and nowhere else."""

    name: ClassVar[str] = "zrf_authors"

    @override
    def scores(self, logits: Tensor, untrained_logits: Tensor) -> Tensor:
        return zero_retrain_forgetting_authors(logits, untrained_logits)


CLASSIFIER_SUITE = Suite((Accuracy, OracleGap, ToW, ActivationDistance, ZRF, ZRFAuthors))
REGRESSION_SUITE = Suite((MeanAbsoluteError, MeanSquaredError, OracleGap, Wasserstein))


def _level(probes: Predictions, group: str) -> float:
    """Accuracy of a classifier, mean absolute error of a regressor."""
    if probes.model.name in CLASSIFIER:
        return float(probes.correct(group).double().mean())
    return float(probes.absolute_errors(group).double().mean())


def _clipped(estimate: Estimate, most: float) -> Estimate:
    """The same with its interval cut to the range from 0 to `most`."""
    value, low, high = estimate
    return value, None if low is None else max(0.0, low), None if high is None else min(most, high)
