"""Rankings against values worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from genunlearn.evaluation.recommender.metrics import OracleGap, Rankings, Recall
from genunlearn.ops.ranking import NO_ITEMS, Ranked, metrics_of, percentiles, rank_metrics
from tests.small_recommenders import small_catalogue, small_recommender

NOTHING = torch.empty(0, 2, dtype=torch.long)


def test_metrics_of_a_list_worked_by_hand() -> None:
    # Three items count; the first and the third of the list are hits, and later the sixth.
    hits = torch.tensor([[1.0, 0, 1, 0, 0, 1]])
    found = metrics_of(hits, torch.tensor([3]), cutoffs=(2, 5))
    assert found["recall"].tolist() == [pytest.approx([1 / 3, 2 / 3])]
    assert found["precision"].tolist() == [pytest.approx([1 / 2, 2 / 5])]
    best = 1 + 1 / math.log2(3)
    ideal = best + 1 / 2
    assert found["ndcg"].tolist() == [pytest.approx([1 / best, (1 + 1 / 2) / ideal])]
    # Precision at the hits: 1/1 and 2/3; shared among min(k, 3) items.
    assert found["map"].tolist() == [pytest.approx([1 / 2, (1 + 2 / 3) / 3])]


def test_a_perfect_list_has_everything_and_an_empty_one_nothing() -> None:
    found = metrics_of(torch.tensor([[1.0, 1, 0], [0, 0, 0]]), torch.tensor([2, 1]), cutoffs=(2, 50))
    for name in ("recall", "ndcg", "map"):
        assert found[name][0].tolist() == pytest.approx([1.0, 1.0])
        assert found[name][1].tolist() == [0.0, 0.0]
    assert found["precision"][0].tolist() == pytest.approx([1.0, 2 / 50])


def slow_metrics(scores: torch.Tensor, asked: Ranked, k: int) -> list[float]:
    """Recall one user after the other."""
    out = []
    for user in asked.users.tolist():
        wanted = set(asked.relevant[asked.relevant[:, 0] == user, 1].tolist())
        out_of = set(asked.seen[asked.seen[:, 0] == user, 1].tolist()) | set(asked.barred.tolist())
        order = [item for item in scores[user].argsort(descending=True).tolist() if item not in out_of]
        out.append(len(wanted & set(order[:k])) / len(wanted))
    return out


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_all_users_at_once_are_as_one_after_the_other(batch_size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(9, 30, generator=generator)
    chosen = torch.rand(9, 30, generator=generator)
    chosen[4] = 1.0  # a user who is not asked about
    chosen[:, 7] = 1.0
    asked = Ranked(
        relevant=(chosen < 0.2).nonzero(), seen=((chosen >= 0.2) & (chosen < 0.4)).nonzero(), barred=torch.tensor([7])
    )
    found = rank_metrics(lambda users: scores[users].clone(), asked, 30, cutoffs=(5, 50), batch_size=batch_size)
    assert found["recall"][:, 0].tolist() == pytest.approx(slow_metrics(scores, asked, 5))
    assert found["recall"][:, 1].tolist() == pytest.approx([1.0] * 8)


def test_percentiles_count_the_unknown_items_that_are_outscored() -> None:
    scores = torch.tensor([[0.9, 0.5, 0.5, 0.1, 0.7, 0.2]])
    asked = Ranked(relevant=torch.tensor([[0, 1], [0, 3]]), seen=torch.tensor([[0, 0]]), barred=torch.tensor([5]))
    pairs, shares = percentiles(lambda users: scores[users].clone(), asked, 6)
    # Left are items 2 (0.5) and 4 (0.7): item 1 ties with one of two, item 3 is below both.
    assert pairs.tolist() == [[0, 1], [0, 3]]
    assert shares.tolist() == pytest.approx([0.25, 0.0])


def test_results_name_group_and_cutoff_and_oracles_are_compared_without_themselves() -> None:
    data, model = small_catalogue(), small_recommender("bpr")
    asked = {"forget": Ranked(relevant=data.train[:6], seen=data.train[6:], barred=NO_ITEMS),
             "test": Ranked(relevant=data.test, seen=data.train, barred=NO_ITEMS),
             "valid": Ranked(relevant=NOTHING, seen=data.train, barred=NO_ITEMS)}  # fmt: skip
    oracles = [Rankings(small_recommender("bpr"), asked) for _ in range(3)]
    for one in oracles:
        one.oracles = tuple(oracles)
    results = Recall().measure(Rankings(model, asked), "original")
    groups = [f"{group}@{cutoff}" for group in ("forget", "test") for cutoff in (5, 10, 20, 50)]
    assert [result.group for result in results] == groups
    assert [result.higher_is_better for result in results] == [None] * 4 + [True] * 4
    assert results[0].n == len(data.train[:6, 0].unique())
    # The oracles are copies of the model: no gap, and each is compared with two others.
    gaps = OracleGap().measure(Rankings(model, asked, oracles=oracles), "original")
    assert [(gap.group, gap.value) for gap in gaps] == [("forget", 0.0), ("test", 0.0), ("mean", 0.0)]
    assert len(oracles[0].others) == 2
    skipped = OracleGap().measure(Rankings(model, asked, oracles=oracles[:2]), "original")
    assert skipped[0].skipped == "needs the distribution of 3 oracles or more, 2 given"
