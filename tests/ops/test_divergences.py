"""Divergences against values worked by hand."""

import math

import pytest
import torch

from genunlearn.ops.divergences import (
    jensen_shannon,
    jensen_shannon_authors,
    kl_divergence,
    kl_divergences,
    squared_distance,
)

HALF = torch.log(torch.tensor([[0.5, 0.5]]))
QUARTER = torch.log(torch.tensor([[0.25, 0.75]]))
# KL(half || quarter) = 1/2 log(0.5 / 0.25) + 1/2 log(0.5 / 0.75) = 1/2 log 2 + 1/2 log(2/3) = 1/2 log(4/3)
KL = 0.5 * math.log(4 / 3)


def test_kl_by_hand() -> None:
    assert kl_divergence(HALF, QUARTER).item() == pytest.approx(KL)
    assert kl_divergence(HALF, HALF).item() == pytest.approx(0, abs=1e-7)


def test_kl_with_the_authors_reduction_divides_by_the_classes() -> None:
    assert kl_divergence(HALF, QUARTER, reduction="mean").item() == pytest.approx(KL / 2)


def test_temperature_divides_both_logits() -> None:
    # At T = 2 the odds 1 : 3 become 1 : sqrt(3); half stays half.
    p = 1 / (1 + math.sqrt(3))
    expected = 0.5 * math.log(0.5 / p) + 0.5 * math.log(0.5 / (1 - p))
    assert kl_divergence(HALF, QUARTER, temperature=2).item() == pytest.approx(expected)


def test_a_temperature_of_one_changes_no_bit() -> None:
    first, second = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    divided = kl_divergence(first / 1.0, second / 1.0)
    assert torch.equal(kl_divergence(first, second, temperature=1), divided)
    assert not torch.allclose(kl_divergence(first, second, temperature=1.5), divided)


def test_divergences_of_several_predictions_are_those_of_each() -> None:
    target, *predictions = torch.randn(4, 5, 7, generator=torch.Generator().manual_seed(0))
    found = kl_divergences(target, iter([*predictions, target]))
    assert found[:, :3].T.tolist() == [pytest.approx(kl_divergence(target, each).tolist()) for each in predictions]
    assert found[:, 3].tolist() == [0.0] * 5  # the target from itself, to the bit
    assert kl_divergences(HALF, [QUARTER]).tolist() == [[pytest.approx(KL)]]


def test_the_slopes_of_several_divergences_reach_the_predictions_and_not_the_target() -> None:
    target, student = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    student.requires_grad_()
    moved = target.clone().requires_grad_()
    kl_divergences(moved, [student]).sum().backward()
    (expected,) = torch.autograd.grad(kl_divergence(target, student).sum(), student)
    assert torch.allclose(student.grad, expected, atol=1e-6)
    assert moved.grad is None


def test_a_class_of_probability_zero_adds_nothing() -> None:
    # The teacher gives all its mass to class 1: KL = log(1 / 0.75).
    teacher = torch.tensor([[-1e10, 0.0]])
    assert kl_divergence(teacher, QUARTER).item() == pytest.approx(math.log(4 / 3))


def test_positions_are_averaged() -> None:
    teacher, student = torch.stack([HALF, HALF], 1), torch.stack([QUARTER, HALF], 1)
    assert kl_divergence(teacher, student).tolist() == pytest.approx([KL / 2])


def test_jensen_shannon_is_in_bits() -> None:
    apart = torch.tensor([[0.0, -100.0]]), torch.tensor([[-100.0, 0.0]])
    assert jensen_shannon(*apart).item() == pytest.approx(1.0)
    # m = (3/8, 5/8): JS = [1/2 log(4/3) + 1/2 log(4/5) + 1/4 log(2/3) + 3/4 log(6/5)] / (2 log 2)
    nats = 0.5 * (math.log(4 / 3) + math.log(4 / 5)) + 0.25 * math.log(2 / 3) + 0.75 * math.log(6 / 5)
    assert jensen_shannon(HALF, QUARTER).item() == pytest.approx(nats / 2 / math.log(2), rel=1e-5)


def test_the_authors_form_reverses_the_arguments() -> None:
    # KL(m || p) = 3/8 log(3/4) + 5/8 log(5/4);  KL(m || q) = 3/8 log(3/2) + 5/8 log(5/6);  two classes
    to_p = 3 / 8 * math.log(3 / 4) + 5 / 8 * math.log(5 / 4)
    to_q = 3 / 8 * math.log(3 / 2) + 5 / 8 * math.log(5 / 6)
    assert jensen_shannon_authors(HALF, QUARTER).item() == pytest.approx((to_p + to_q) / 2 / 2, rel=1e-5)


def test_the_authors_form_is_unbounded() -> None:
    apart = torch.tensor([[0.0, -100.0]]), torch.tensor([[-100.0, 0.0]])
    assert jensen_shannon_authors(*apart).item() > 10


def test_squared_distance_sums_over_all_weights() -> None:
    weights = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([[3.0]])}
    anchors = {"a": torch.tensor([1.0, 0.0]), "b": torch.tensor([[0.0]])}
    assert squared_distance(weights, anchors).item() == pytest.approx(4 + 9)


def test_positions_that_do_not_count_are_left_out() -> None:
    # Two positions of two classes. Position 0: (1/2, 1/2) against (3/4, 1/4) is ln(2/3) / 2 + ln 2 / 2 = ln(4/3) / 2;
    # position 1: equal, 0. Over both the mean is half of the first, over the first alone it is the first.
    target = torch.tensor([[[0.5, 0.5], [0.3, 0.7]]]).log()
    predicted = torch.tensor([[[0.75, 0.25], [0.3, 0.7]]]).log()
    first = math.log(4 / 3) / 2
    both = kl_divergence(target, predicted)
    alone = kl_divergence(target, predicted, counted=torch.tensor([[True, False]]))
    none = kl_divergence(target, predicted, counted=torch.tensor([[False, False]]))
    assert [both.item(), alone.item(), none.item()] == pytest.approx([first / 2, first, 0.0], abs=1e-6)
