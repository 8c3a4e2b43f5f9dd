"""Metrics of graph networks, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genunlearn.data.graph.graph import GraphItem
from genunlearn.evaluation.graph.metrics import (
    Consistency,
    DeletedAUC,
    MembershipRatio,
    OracleGap,
    TestAUC,
    average_precision,
    drawn_auc,
)
from genunlearn.evaluation.graph.predictions import GraphPredictions, told


class Answers:
    """A network that predicts links and whose score of each pair is given."""

    task = "link"

    def __init__(self, **scores: list[float]) -> None:
        self.scores = scores

    def predict(self, items: list[GraphItem]) -> torch.Tensor:
        group, _, _ = items[0].id.partition(" ")
        return torch.tensor([[0.0, self.scores[group][item.nodes[0]]] for item in items])


def pairs(group: str, targets: list[int]) -> list[GraphItem]:
    return [GraphItem(id=f"{group} {n}", nodes=(n, 0), target=target) for n, target in enumerate(targets)]


DATA = {
    "forget": pairs("forget", [1, 1]),
    "retain": pairs("retain", [1, 1, 1, 1, 0]),
    "test": pairs("test", [1, 1, 0, 0]),
}


def probes(forget: list[float], oracles: int = 0, original: GraphPredictions | None = None) -> GraphPredictions:
    scores = {"retain": [3.0, 3.0, 2.0, 1.0, -5.0], "test": [3.0, 0.0, 1.0, -1.0]}
    others = [GraphPredictions(Answers(forget=[0.5, -1.0], **scores), DATA) for _ in range(oracles)]
    return GraphPredictions(Answers(forget=forget, **scores), DATA, original=original, oracles=others)


def test_the_area_on_the_test_set() -> None:
    # Links score 3 and 0, others 1 and -1: of four comparisons three are right.
    (result,) = TestAUC().measure(probes([0.0, 0.0]), "unlearned")
    assert (result.value, result.n, result.group) == (0.75, 4, "test")


def test_deleted_links_below_all_retained_ones_are_told_and_equal_ones_are_not() -> None:
    assert DeletedAUC().measure(probes([-1.0, 0.0]), "unlearned")[0].value == 1.0
    # Retained scores 3, 3, 2, 1 against 3 and 0: 3 is above one and equal to the other (3/4), 2 and 1 above one (1/2).
    retained, deleted = torch.tensor([3.0, 3.0, 2.0, 1.0]), torch.tensor([3.0, 0.0])
    assert drawn_auc(retained, deleted, draws=4000) == pytest.approx((0.75 + 0.75 + 0.5 + 0.5) / 4, abs=0.01)


def test_average_precision_by_hand() -> None:
    # Ranked 3 (link), 1 (none), 0 (link): the mean of 1/1 and 2/3.
    assert average_precision(np.array([3.0, 1.0, 0.0]), np.array([1, 0, 1])) == pytest.approx((1 + 2 / 3) / 2)


def test_consistency_is_agreement_with_the_oracles() -> None:
    # Oracles say link, no link; the network says link, link.
    (result,) = Consistency().measure(probes([1.0, 1.0], oracles=3), "unlearned")
    assert (result.value, result.n) == (0.5, 2)
    (alone,) = Consistency().measure(probes([1.0, 1.0]), "unlearned")
    assert alone.skipped == "needs an oracle to compare with"


def test_the_gap_is_to_the_mean_of_the_oracles() -> None:
    # df_auc: of the network 1 (both below 1), of the oracles also 1; without spread the interval has no width.
    found = {r.group: r for r in OracleGap().measure(probes([0.0, 0.0], oracles=3), "unlearned")}
    assert found["forget"].value == 0.0 and found["test"].value == 0.0 and found["mean"].value == 0.0
    assert "retain" not in found
    (few,) = OracleGap().measure(probes([0.0, 0.0], oracles=2), "unlearned")
    assert "3 oracles or more, 2 given" in few.skipped


def test_the_membership_ratio_is_one_before_and_more_once_scores_have_fallen() -> None:
    original = probes([3.0, 3.0])
    assert MembershipRatio().measure(probes([3.0, 3.0], original=original), "original")[0].value == pytest.approx(1.0)
    fallen = MembershipRatio().measure(probes([-1.0, -1.0], original=original), "unlearned")[0]
    assert fallen.value > 1.2 and fallen.n == 2
    assert MembershipRatio().measure(probes([3.0, 3.0]), "unlearned")[0].skipped.startswith("needs the original")


def test_links_are_told_by_their_order_and_not_by_a_threshold() -> None:
    # Pairs without a link score 1, 2 and 3, the median is 2; of the links 5 and 1 one is above.
    logits = torch.tensor([[0.0, 5.0], [0.0, 1.0], [0.0, 1.0], [0.0, 2.0], [0.0, 3.0]])
    targets = torch.tensor([1, 1, 0, 0, 0])
    assert told("link", logits, targets).tolist() == told("link", logits - 10, targets).tolist() == [True, False]
    assert told("node", logits, targets).tolist() == [True, True, False, False, False]
