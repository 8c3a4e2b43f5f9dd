"""Metrics of graph networks: what is still known, what has stayed, and how near both are to never having learnt it.

Every model is asked on the graph without what is to be forgotten: to delete a link also changes the messages of the
nodes around it, and that change is the same for all models.
"""

from __future__ import annotations

import abc
from statistics import fmean
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from genunlearn.contracts import Metric, Suite
from genunlearn.evaluation.graph.predictions import GraphPredictions
from genunlearn.ops import intervals
from genunlearn.ops.membership import auc
from genunlearn.records import Result

FORGET, RETAIN, TEST = "forget", "retain", "test"
LEAST_ORACLES = 3
DRAWS = 500
SHARES = ("accuracy", "auc", "average_precision", "df_auc", "consistency", "integrity")
"""Metrics between 0 and 1, whose intervals over oracles are cut there."""

Estimate = tuple[float, float | None, float | None]


class GraphMetric(Metric):
    """A metric from `GraphPredictions`.

    Attributes:
        tasks: What a network must do for it.
        compares: Whether it needs an oracle.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"node", "link"})
    compares: ClassVar[bool] = False

    def measure(self, probes: GraphPredictions, target: str) -> list[Result]:
        """Results for the model `target`; one that is skipped where the metric lacks something."""
        if probes.model.task not in self.tasks:
            return [self.skip(target, f"for {' and '.join(sorted(self.tasks))} tasks, not for {probes.model.task}")]
        if self.compares and not probes.others:
            return [self.skip(target, "needs an oracle to compare with")]
        return self.values(probes, target)

    @abc.abstractmethod
    def values(self, probes: GraphPredictions, target: str) -> list[Result]:
        """Results where the metric applies."""

    def result(self, target: str, group: str | None, estimate: Estimate, n: int) -> Result:
        """A result of this metric."""
        value, low, high = estimate
        better = None if group == FORGET and not self.compares else self.higher_is_better
        return Result(
            name=self.name, group=group, target=target, value=value, low=low, high=high, n=n,
            version=self.version, higher_is_better=better,
        )  # fmt: skip

    def skip(self, target: str, reason: str, group: str | None = None) -> Result:
        """The result where there is no value."""
        return Result(name=self.name, target=target, group=group, value=None, version=self.version, skipped=reason)


class Accuracy(GraphMetric):
    """Share of nodes whose most probable class is the true one, or of pairs told rightly, with its exact interval."""

    name: ClassVar[str] = "accuracy"
    higher_is_better: ClassVar[bool | None] = True

    def values(self, probes: GraphPredictions, target: str) -> list[Result]:
        """One result a group."""
        found = {group: probes.correct(group) for group in probes.data}
        return [self.result(target, group, intervals.share(int(c.sum()), len(c)), len(c)) for group, c in found.items()]


class TestAUC(GraphMetric):
    """Area under the ROC curve of links of the test set against pairs without one, with DeLong's interval."""

    __test__ = False
    name: ClassVar[str] = "auc"
    higher_is_better: ClassVar[bool | None] = True
    tasks: ClassVar[frozenset[str]] = frozenset({"link"})

    def values(self, probes: GraphPredictions, target: str) -> list[Result]:
        """One result."""
        if TEST not in probes.data:
            return [self.skip(target, "needs test links")]
        links, others = probes.link_scores(TEST), probes.link_scores(TEST, is_linked=False)
        return [self.result(target, TEST, auc(links, others), len(links) + len(others))]


class AveragePrecision(GraphMetric):
    """Average precision of links of the test set among pairs without one, with its bootstrap interval."""

    name: ClassVar[str] = "average_precision"
    higher_is_better: ClassVar[bool | None] = True
    tasks: ClassVar[frozenset[str]] = frozenset({"link"})
    resamples: ClassVar[int] = 500

    def values(self, probes: GraphPredictions, target: str) -> list[Result]:
        """One result."""
        if TEST not in probes.data:
            return [self.skip(target, "needs test links")]
        scores, labels = probes.logits(TEST)[:, 1].numpy(), probes.targets(TEST).numpy()
        draw = np.random.default_rng(0)
        links, others = np.flatnonzero(labels), np.flatnonzero(labels == 0)
        found = [average_precision(scores, labels)]
        for _ in range(self.resamples):
            rows = np.concatenate([draw.choice(links, len(links)), draw.choice(others, len(others))])
            found.append(average_precision(scores[rows], labels[rows]))
        low, high = np.percentile(found[1:], [2.5, 97.5])
        return [self.result(target, TEST, (found[0], min(low, found[0]), max(high, found[0])), len(labels))]


class DeletedAUC(GraphMetric):
    """How well scores separate deleted links (0) from retained ones (1): the mean over 500 draws of equally many.

    0.5 says that deleted links look like those that stayed, 1 that all are less likely than these; an oracle's value
    lies between. The interval is DeLong's for the deleted and all retained links.

    Source: Cheng et al., "GNNDelete" (ICLR 2023), code (``df_auc``).
    """

    name: ClassVar[str] = "df_auc"
    tasks: ClassVar[frozenset[str]] = frozenset({"link"})

    def values(self, probes: GraphPredictions, target: str) -> list[Result]:
        """One result."""
        if FORGET not in probes.data or RETAIN not in probes.data:
            return [self.skip(target, "needs deleted and retained links")]
        deleted, retained = probes.link_scores(FORGET), probes.link_scores(RETAIN)
        _, low, high = auc(retained, deleted)
        value = drawn_auc(retained, deleted)
        return [self.result(target, FORGET, (value, min(value, low), max(value, high)), len(deleted))]


class Agreement(GraphMetric):
    """Share of items on which a network decides as the oracles do, mean over them, with its bootstrap interval."""

    higher_is_better: ClassVar[bool | None] = True
    compares: ClassVar[bool] = True
    groups: ClassVar[tuple[str, ...]]

    def values(self, probes: GraphPredictions, target: str) -> list[Result]:
        """One result a group."""
        results = []
        for group in self.groups:
            if group not in probes.data:
                results.append(self.skip(target, f"needs {group} items", group))
                continue
            own = probes.decisions(group)
            same = torch.stack([own == oracle.decisions(group) for oracle in probes.others]).double().mean(0)
            results.append(self.result(target, group, intervals.bounded_mean(same.tolist()), len(same)))
        return results


class Consistency(Agreement):
    """Share of what was to be forgotten on which the network decides as oracles do: forgetting, as D2DGN calls it.

    Sinha et al. (arXiv 2309.16173) name consistency and integrity; how they compute them was not at hand.
    """

    name: ClassVar[str] = "consistency"
    groups: ClassVar[tuple[str, ...]] = (FORGET,)


class Integrity(Agreement):
    """Share of what stays on which the network decides as oracles do: retention, see `Consistency`."""

    name: ClassVar[str] = "integrity"
    groups: ClassVar[tuple[str, ...]] = (RETAIN, TEST)


class MembershipRatio(GraphMetric):
    """How much surer an attacker is of membership before than after: mean over the forget set of p before / p after.

    The attacker, a logistic regression of the true class's log-odds, learns from the original's answers to retained and
    to test items of true links or nodes. 1 says that nothing has changed; the oracle's row is what forgetting brings.

    Source: Cheng et al., "GNNDelete" (ICLR 2023), the MI ratio as the paper has it; its code divides after by before.
    Deviation: the attacker learns from the original itself, and from one feature.
    """

    name: ClassVar[str] = "membership_ratio"

    def values(self, probes: GraphPredictions, target: str) -> list[Result]:
        """One result, with its bootstrap interval."""
        if probes.original is None:
            return [self.skip(target, "needs the original, which it compares with")]
        if missing := [group for group in (FORGET, RETAIN, TEST) if group not in probes.data]:
            return [self.skip(target, f"needs {missing[0]} items")]
        from sklearn.linear_model import LogisticRegression

        members, others = (_log_odds(probes.original, group) for group in (RETAIN, TEST))
        labels = np.repeat([1, 0], [len(members), len(others)])
        attacker = LogisticRegression(class_weight="balanced").fit(
            torch.cat([members, others]).numpy()[:, None], labels
        )
        before, after = (
            attacker.predict_proba(_log_odds(one, FORGET).numpy()[:, None])[:, 1] for one in (probes.original, probes)
        )
        ratios = before / np.maximum(after, 1e-6)
        return [self.result(target, FORGET, intervals.mean(ratios.tolist()), len(ratios))]


class OracleGap(GraphMetric):
    """The level less the mean of the oracles, with the prediction interval of one more oracle: 0 within, it may be one.

    The level of a set is its accuracy; for links, ``df_auc`` on the forget set and the area under the curve on the test
    set. The mean of sizes is over forget and test.
    """

    name: ClassVar[str] = "oracle_gap"
    compares: ClassVar[bool] = True

    def values(self, probes: GraphPredictions, target: str) -> list[Result]:
        """One result a group and their mean; skipped with fewer than three oracles."""
        if (given := len(probes.oracles)) < LEAST_ORACLES:
            return [self.skip(target, f"needs the distribution of {LEAST_ORACLES} oracles or more, {given} given")]
        results = []
        for group, items in probes.data.items():
            if (own := level(probes, group)) is None:
                continue
            levels = [float(level(oracle, group) or 0.0) for oracle in probes.others]
            gap, half = own - fmean(levels), intervals.next_seed(levels)
            results.append(self.result(target, group, (gap, gap - half, gap + half), len(items)))
        sides = [r for r in results if r.group in (FORGET, TEST)]
        if len(sides) == 2:
            mean = fmean(abs(r.value or 0.0) for r in sides)
            results.append(self.result(target, "mean", (mean, None, None), sum(r.n for r in sides)))
        return results


NODE_SUITE = Suite((Accuracy, OracleGap, Consistency, Integrity, MembershipRatio))
LINK_SUITE = Suite(
    (TestAUC, AveragePrecision, DeletedAUC, Accuracy, OracleGap, Consistency, Integrity, MembershipRatio)
)


def level(probes: GraphPredictions, group: str) -> float | None:
    """How well a set is known, see `OracleGap`; None where a set of links has none."""
    if probes.model.task == "node":
        return float(probes.correct(group).double().mean())
    if group == TEST:
        return auc(probes.link_scores(TEST), probes.link_scores(TEST, is_linked=False))[0]
    if group == FORGET and RETAIN in probes.data:
        return drawn_auc(probes.link_scores(RETAIN), probes.link_scores(FORGET))
    return None


def drawn_auc(retained: Tensor, deleted: Tensor, draws: int = DRAWS, seed: int = 0) -> float:
    """Mean area under the curve of as many retained scores as deleted ones, drawn anew `draws` times.

    Args:
        retained: ``(retained,)``.
        deleted: ``(deleted,)``.
        draws: How often.
        seed: Of the draws.
    """
    ordered = np.sort(deleted.double().numpy())
    scores = retained.double().numpy()
    # A draw's area is the mean, over its retained scores, of the share of deleted ones below, of equal ones half.
    below = (np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")) / (2 * len(ordered))
    draw, count = np.random.default_rng(seed), min(len(ordered), len(scores))
    return float(np.mean([below[draw.choice(len(below), count, replace=False)].mean() for _ in range(draws)]))


def average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean over links of the share of links among the pairs that score at least as high; equal scores count as one."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(labels, scores))


def _log_odds(probes: GraphPredictions, group: str) -> Tensor:
    """Log-odds of the true class; of pairs those that are linked alone, ``(items,)``."""
    sure = probes.confidence(group).clamp(1e-12, 1 - 1e-12)
    if probes.model.task == "link":
        sure = sure[probes.targets(group) == 1]
    return torch.log(sure / (1 - sure))
