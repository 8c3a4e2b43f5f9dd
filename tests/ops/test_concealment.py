"""Distances, margins, scores and the leak, worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from genunlearn.ops.concealment import (
    delta,
    feature_distance,
    normalised_leak,
    retrieval_score,
    signed_margin,
    triplet_loss,
)

EAST, NORTH = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_distance_by_hand() -> None:
    # arctan(1) = pi / 4, arctan(0) = 0, arctan(-1) = -pi / 4; each over pi / 2, and lengths do not matter
    found = feature_distance(torch.stack([EAST, 5 * NORTH]), torch.stack([2 * EAST, -EAST]))
    same, none, opposite = 2 / math.pi - 0.5, 2 / math.pi, 2 / math.pi + 0.5
    assert found.flatten().tolist() == pytest.approx([same, opposite, none, none])
    assert same == pytest.approx(0.137, abs=5e-4)


def test_margin_delta_and_scores_by_hand() -> None:
    # Nearer to the original: d_U - d_O = none - same = 0.5; nearer to the unlearned model: -0.5.
    original, unlearned = EAST[None], NORTH[None]
    assert signed_margin(torch.stack([EAST, NORTH]), original, unlearned).tolist() == pytest.approx([0.5, -0.5])
    recovered_then_not = torch.tensor([[0.5, 0.3], [-0.2, -0.2]])  # mean margins 0.4 and -0.2
    assert delta(recovered_then_not) == pytest.approx(0.3)
    assert retrieval_score(recovered_then_not, "forget") == pytest.approx(0.3)
    assert retrieval_score(recovered_then_not, "retain") == pytest.approx(0.7)
    assert delta(torch.tensor([[0.5, -0.5]])) == 0, "the mean over images comes before the absolute value"


def test_the_margin_is_a_mean_over_each_pool() -> None:
    # cos with O: 1 and 0, so arctan mean pi / 8; with U: 0. m = (2 / pi) (pi / 8 - 0) = 0.25
    assert float(signed_margin(EAST[None], torch.stack([EAST, NORTH]), NORTH[None])) == pytest.approx(0.25)


def test_equal_pools_have_no_margin() -> None:
    pool = torch.randn(6, 4, generator=generator())
    assert delta(signed_margin(torch.randn(8, 4, generator=generator()), pool, pool).view(2, 4)) == 0


def test_triplet_loss_by_hand() -> None:
    # a = (0, 0), p = (1, 0) of one class, n = (0, 1.5) alone in its own and so no anchor.
    # a: 1 - 1.5 + 1 = 0.5; p: 1 - sqrt(3.25) + 1 = 0.19722; mean 0.34861
    features = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.5]])
    labels = torch.tensor([0, 0, 1])
    assert float(triplet_loss(features, labels, 1.0, generator())) == pytest.approx(0.34861, abs=1e-5)
    assert float(triplet_loss(features, labels, 0.5, generator())) == 0
    assert float(triplet_loss(features[:2], labels[:2], 1.0, generator())) == 0, "one class alone has no triplet"


def test_the_nearest_of_three_negatives_counts() -> None:
    # Both anchors of class 0 lie at 0; class 1 at 3, 4 and 5: each of its anchors pairs with one at 1 or 2.
    features = torch.tensor([[0.0], [0.0], [3.0], [4.0], [5.0]])
    labels = torch.tensor([0, 0, 1, 1, 1])
    # class 0: 0 - 3 + 3.5 = 0.5 each. 3: 1 or 2 - 3 + 3.5; 4: 1 - 4 + 3.5; 5: 1 or 2 - 5 + 3.5
    loss = 5 * float(triplet_loss(features, labels, 3.5, generator()))
    assert any(loss == pytest.approx(1 + a + 0.5 + b) for a in (1.5, 2.5) for b in (0, 0.5))


def rows(*means: float) -> torch.Tensor:
    return torch.tensor([[mean] * 4 for mean in means])


def test_the_leak_by_hand() -> None:
    # psi 0: 0 / 1; psi 0.25: 0.25 / 0.75 = 1 / 3; psi 0.5: 0.25 / 0.5 = 1 / 2; psi 0.75: the oracle shows it as well
    curve = normalised_leak((0, 0.25, 0.5, 0.75), rows(0, 0.5, 0.75, 1), rows(0, 0.25, 0.5, 1), rows(1, 1, 1, 1))
    assert [point and point[0] for point in curve.points] == [0, pytest.approx(1 / 3), pytest.approx(0.5), None]
    # (0 + 1/3) / 2 * 0.25 + (1/3 + 1/2) / 2 * 0.25 = 7 / 48, over a width of 0.5
    assert curve.area == (pytest.approx(7 / 24),) * 3


def test_a_leak_of_one_point_has_no_area() -> None:
    curve = normalised_leak((0.25, 0.6), rows(0.5, 0.5), rows(0, 0), rows(1, 1))
    assert curve.points[0] == (0.5, 0.5, 0.5) and curve.area is None


def test_the_interval_of_a_leak_goes_over_seeds() -> None:
    draw = torch.rand(2, 200, generator=generator())
    curve = normalised_leak((0.1, 0.2), 0.4 + 0.2 * draw, 0.1 * draw, 0.9 + 0.1 * draw)
    value, low, high = curve.area
    assert low < value < high and high - low < 0.05
    assert curve == normalised_leak((0.1, 0.2), 0.4 + 0.2 * draw, 0.1 * draw, 0.9 + 0.1 * draw)
