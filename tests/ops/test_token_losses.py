"""Losses of single tokens against numbers worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from genunlearn.ops.logprobs import IGNORE
from genunlearn.ops.token_losses import (
    answer_mean,
    best_other_logprob,
    cross_entropy,
    label_logprobs,
    one_hot_jensen_shannon,
    preference_loss,
    shift_label,
)

LOGITS = torch.tensor([[[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]]).log()
LABELS = torch.tensor([[0, IGNORE]])


def test_a_mean_is_over_the_answers_own_tokens():
    values = torch.tensor([[1.0, math.inf], [2.0, 4.0], [math.nan, math.inf]])
    labels = torch.tensor([[3, IGNORE], [3, 3], [IGNORE, IGNORE]])
    assert answer_mean(values, labels).tolist() == [1.0, 3.0, 0.0]


def test_what_has_no_label_has_logprob_0():
    assert label_logprobs(LOGITS, LABELS)[0].tolist() == pytest.approx([math.log(0.5), 0.0])


def test_the_best_other_token():
    assert best_other_logprob(LOGITS, torch.tensor([[0, 2]])).exp()[0].tolist() == pytest.approx([0.3, 0.1])


def test_a_label_is_shifted_and_where_there_is_none_nothing():
    shifted = shift_label(LOGITS, LABELS, -math.log(2)).softmax(-1)
    # Odds 0.25 : 0.3 : 0.2 = 1/3 : 2/5 : 4/15.
    assert shifted[0, 0].tolist() == pytest.approx([1 / 3, 2 / 5, 4 / 15])
    assert shifted[0, 1].tolist() == pytest.approx([0.1, 0.1, 0.8])


def test_cross_entropy_by_hand_without_gradient_into_the_target():
    target = torch.tensor([0.5, 0.5]).log().requires_grad_()
    prediction = torch.tensor([0.25, 0.75]).log().requires_grad_()
    value = cross_entropy(target, prediction)
    assert value.item() == pytest.approx(-(math.log(0.25) + math.log(0.75)) / 2)
    value.backward()
    assert target.grad is None
    assert prediction.grad.tolist() == pytest.approx([-0.25, 0.25])


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_divergence_from_certainty_is_the_divergence_from_a_one_hot(probability):
    p, q = torch.tensor([probability, 1 - probability]), torch.tensor([1.0, 0.0])
    middle = (p + q) / 2

    def kl(first: torch.Tensor) -> float:
        return sum(a * math.log(a / b) for a, b in zip(first.tolist(), middle.tolist(), strict=True) if a)

    expected = (kl(p) + kl(q)) / 2
    value = one_hot_jensen_shannon(torch.tensor(probability).clamp_min(1e-30).log())
    assert value.item() == pytest.approx(expected, abs=1e-6)


def test_preference_by_hand():
    # sigma(log 3) = 3/4: -(2 / 1) log 3/4.
    assert preference_loss(torch.tensor(math.log(3)), 1.0).item() == pytest.approx(2 * math.log(4 / 3))
