"""Metrics of recommenders: Recall, NDCG, Precision and MAP, and how far they are from models that never knew.

On the forget set no value is good or bad by itself: tastes generalise, so a model that was never told of a choice
ranks it high all the same. The aim is what oracles do there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from statistics import fmean
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from genunlearn.contracts import Estimate, Metric, Suite
from genunlearn.domains.recommender.adapter import Recommender
from genunlearn.ops import intervals
from genunlearn.ops.ranking import CUTOFFS, Ranked, rank_metrics
from genunlearn.records import Result

FORGET = "forget"
MAIN, AT = "recall", 20
DELETED = "recall_deleted"
"""Recall@20 on the forget set of a recommender that has not unlearned, once the service has deleted its records."""
LEAST_ORACLES = 3


class Rankings:
    """What a recommender puts first for each user; computed once, read by every metric.

    Attributes:
        model: The recommender.
        data: What is looked for by group: ``forget``, ``valid``, ``test``.
        oracles: The same of models that never learnt the forget set; this one may stand among them.
    """

    def __init__(
        self, model: Recommender, data: Mapping[str, Ranked], *, oracles: Sequence[Rankings] = (), batch_size: int = 512
    ) -> None:
        """Groups without interactions are left out."""
        self.model = model
        self.data = {group: asked for group, asked in data.items() if len(asked.relevant)}
        self.oracles = tuple(oracles)
        self._batch_size = batch_size

    @property
    def others(self) -> tuple[Rankings, ...]:
        """The oracles that this model is compared with: all of them, but not itself."""
        return tuple(oracle for oracle in self.oracles if oracle.model is not self.model)

    @cached_property
    def found(self) -> dict[str, dict[str, Tensor]]:
        """Each metric by group and name, ``(users, cutoffs)``."""
        size, scores = self.model.sizes[1], self.model.scorer()
        return {
            group: rank_metrics(scores, asked, size, batch_size=self._batch_size) for group, asked in self.data.items()
        }

    def level(self, group: str) -> float:
        """Mean Recall@20 of a group."""
        return float(self.found[group][MAIN][:, CUTOFFS.index(AT)].double().mean())


class RankMetric(Metric):
    """A mean over users, for each group and cut-off, with its bootstrap interval; groups are called ``test@20``."""

    higher_is_better: ClassVar[bool | None] = True

    @override
    def measure(self, probes: Rankings, target: str) -> list[Result]:
        return [
            self._result(target, f"{group}@{cutoff}", found[self.name][:, place].double())
            for group, found in probes.found.items()
            for place, cutoff in enumerate(CUTOFFS)
        ]

    def _result(self, target: str, group: str, values: Tensor) -> Result:
        value, low, high = intervals.bounded_mean(values.tolist())
        better = None if group.startswith(f"{FORGET}@") else self.higher_is_better
        return Result(
            name=self.name, group=group, target=target, value=value, low=low, high=high, n=len(values),
            version=self.version, higher_is_better=better,
        )  # fmt: skip


class Recall(RankMetric):
    """Share of a user's items that stand in the list."""

    name: ClassVar[str] = "recall"


class NDCG(RankMetric):
    """Hits in the list, discounted by rank, as a share of the best list's."""

    name: ClassVar[str] = "ndcg"


class Precision(RankMetric):
    """Share of the list that a user chose."""

    name: ClassVar[str] = "precision"


class MeanAveragePrecision(RankMetric):
    """Mean precision at the ranks of a user's items."""

    name: ClassVar[str] = "map"


class OracleGap(Metric):
    """Recall@20 less its mean over the oracles, by group; and the mean size of these gaps.

    The interval is the t prediction interval of the oracles' distribution: it holds 0 where the model could be one more
    oracle.
    """

    name: ClassVar[str] = "oracle_gap"

    @override
    def measure(self, probes: Rankings, target: str) -> list[Result]:
        """One result a group and their mean; skipped with fewer than three oracles."""
        if (given := len(probes.oracles)) < LEAST_ORACLES:
            reason = f"needs the distribution of {LEAST_ORACLES} oracles or more, {given} given"
            return [Result(name=self.name, target=target, value=None, version=self.version, skipped=reason)]
        results, sizes, users = [], [], 0
        for group, asked in probes.data.items():
            levels = [oracle.level(group) for oracle in probes.others]
            gap, half = probes.level(group) - fmean(levels), intervals.next_seed(levels)
            results.append(self._result(target, group, (gap, gap - half, gap + half), len(asked.users)))
            sizes.append(abs(gap))
            users += len(asked.users)
        return [*results, self._result(target, "mean", (fmean(sizes), None, None), users)]

    def _result(self, target: str, group: str, estimate: Estimate, n: int) -> Result:
        value, low, high = estimate
        return Result(
            name=self.name, group=group, target=target, value=value, low=low, high=high, n=n, version=self.version
        )


RANKING = Suite((Recall, NDCG, Precision, MeanAveragePrecision, OracleGap), version=1)


def once_deleted(bare: Rankings, target: str) -> Result:
    """`DELETED` of a recommender whose records are deleted."""
    found = Recall().measure(bare, target)
    return replace(next(one for one in found if one.group == f"{FORGET}@{AT}"), name=DELETED)
