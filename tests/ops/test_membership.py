"""Areas, rates and RMIA's score against counts made by hand."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from genunlearn.ops.intervals import of_pairs
from genunlearn.ops.membership import auc, marginal_probability, relative_membership, roc, true_positive_rate

MEMBERS, OTHERS = torch.tensor([0.9, 0.6, 0.4]), torch.tensor([0.6, 0.5, 0.1, 0.0])


def test_auc_counts_pairs_and_half_of_the_ties() -> None:
    # 0.9 beats 4 of 4, 0.6 beats 3 and ties 1, 0.4 beats 2: (4 + 3.5 + 2) / 12.
    assert auc(MEMBERS, OTHERS)[0] == pytest.approx(9.5 / 12)
    assert auc(OTHERS, MEMBERS)[0] == pytest.approx(2.5 / 12)


def test_delong_interval_by_hand() -> None:
    # Placements of members: 1, 7/8, 1/2, variance 0.06770833 (mean 0.7916667). Of others among members: 0.6 lies below
    # 0.9 and ties 0.6: (1 + 0.5)/3 = 1/2; 0.5: 2/3; 0.1 and 0.0: 1; mean 0.7916667, variance 0.0625 (sum of squares
    # 0.0850694 + 0.0156250 + 2 * 0.0434028 = 0.1875, over 3). Error = sqrt(0.0677083 / 3 + 0.0625 / 4).
    half = 1.959964 * math.sqrt(0.06770833 / 3 + 0.0625 / 4)
    _, low, high = auc(MEMBERS, OTHERS)
    assert low == pytest.approx(0.7916667 - half, abs=1e-6)
    assert high == 1.0  # cut there: 0.79 + 0.38


@pytest.mark.parametrize(
    ("members", "others"), [((3.0, 4.0, 5.0), (1.0, 2.0)), ((1.0, 2.0), (3.0, 4.0)), ((1.0,) * 6, (1.0,) * 4)]
)
def test_scores_of_which_nothing_varies_are_no_point(members: tuple[float, ...], others: tuple[float, ...]) -> None:
    value, low, high = auc(torch.tensor(members), torch.tensor(others))
    assert value in (0.0, 0.5, 1.0) and (low, high) == of_pairs(value, len(members), len(others))
    assert high - low > 0.3


def test_one_member_is_told_apart_from_nobody() -> None:
    _, low, high = auc(torch.tensor([5.0]), torch.linspace(0, 5.5, 50))
    assert low < 0.5 and high > 0.95


def test_the_interval_of_chance_holds_one_half() -> None:
    scores = torch.rand(2, 400, generator=torch.Generator().manual_seed(0))
    value, low, high = auc(*scores)
    assert low < 0.5 < high and abs(value - 0.5) < 0.05
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt((1 / 12) * 2 / 400), rel=0.05)  # uniform: 1/12 each


@pytest.mark.parametrize(("at", "found"), [(0.25, 2), (0.49, 2), (0.5, 3)])
def test_rate_at_a_false_positive_rate(at: float, found: int) -> None:
    # With a quarter of four, one non-member (0.6) may be called a member: 0.9 and 0.6 lie above the next, 0.5.
    # With a half, two may: all members lie above 0.1.
    assert true_positive_rate(MEMBERS, OTHERS, at)[0] == pytest.approx(found / 3)


def test_no_false_positive_means_above_every_nonmember() -> None:
    assert true_positive_rate(MEMBERS, OTHERS, 0.2)[0] == pytest.approx(1 / 3)


def test_roc_has_a_point_for_each_distinct_score() -> None:
    assert roc(MEMBERS, OTHERS) == [
        (0.0, 0.0), (0.0, pytest.approx(1 / 3)), (0.25, pytest.approx(2 / 3)), (0.5, pytest.approx(2 / 3)),
        (0.5, 1.0), (0.75, 1.0), (1.0, 1.0),
    ]  # fmt: skip


def area(points: list[tuple[float, float]]) -> float:
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(points))


def test_the_area_under_roc_is_auc() -> None:
    scores: Tensor = torch.rand(2, 30, generator=torch.Generator().manual_seed(1)).round(decimals=1)
    assert area(roc(*scores)) == pytest.approx(auc(*scores)[0], abs=1e-6)


def test_marginal_probability_by_hand() -> None:
    # p_out = (0.2 + 0.4) / 2 = 0.3; a = 0.5: p_in = 0.5 * 0.3 + 0.5 = 0.65; p = 0.475. a = 1: p = p_out.
    references = torch.tensor([[0.2], [0.4]])
    assert marginal_probability(references, 0.5).tolist() == pytest.approx([0.475])
    assert marginal_probability(references, 1.0).tolist() == pytest.approx([0.3])


def test_relative_membership_by_hand() -> None:
    # gamma = 2 against a population of ratios 0.5, 1, 2: bounds 1, 2, 4. 2 reaches two of them, 0.9 none, 8 all.
    ratios, population = torch.tensor([2.0, 0.9, 8.0]), torch.tensor([1.0, 2.0, 0.5])
    assert relative_membership(ratios, population, 2.0).tolist() == pytest.approx([2 / 3, 0.0, 1.0])
