"""The zero retrain forgetting score and entropy against values worked by hand."""

import math

import pytest
import torch

from genunlearn.ops.randomness import entropy, zero_retrain_forgetting, zero_retrain_forgetting_authors

P, Q = [0.5, 0.5], [0.25, 0.75]
LOGITS, STRANGER = torch.tensor([P]).log(), torch.tensor([Q]).log()


def published_score(p: torch.Tensor, q: torch.Tensor) -> float:
    """The authors' arithmetic on probabilities: reversed KL in nats, the mean over examples and classes."""
    m = (p + q) / 2
    count = p.numel()
    to_p = float((m * (m.log() - p.log())).sum()) / count
    to_q = float((m * (m.log() - q.log())).sum()) / count
    return 1 - (to_p + to_q) / 2


def test_zrf_by_hand() -> None:
    # m = (3/8, 5/8). KL(p || m) = 1/2 lb(4/3) + 1/2 lb(4/5); KL(q || m) = 1/4 lb(2/3) + 3/4 lb(6/5), in bits.
    to_p = 0.5 * math.log2(4 / 3) + 0.5 * math.log2(4 / 5)
    to_q = 0.25 * math.log2(2 / 3) + 0.75 * math.log2(6 / 5)
    assert zero_retrain_forgetting(LOGITS, STRANGER).tolist() == pytest.approx([1 - (to_p + to_q) / 2], abs=1e-6)


def test_zrf_is_1_for_the_stranger_itself_and_0_without_a_common_class() -> None:
    sure = torch.tensor([[0.0, -200.0]])
    assert zero_retrain_forgetting(STRANGER, STRANGER).tolist() == pytest.approx([1.0])
    assert zero_retrain_forgetting(sure, sure.flip(1)).tolist() == pytest.approx([0.0], abs=1e-6)


def test_the_authors_form_by_hand() -> None:
    # KL(m || p) = 3/8 log(3/4) + 5/8 log(5/4); KL(m || q) = 3/8 log(3/2) + 5/8 log(5/6); halved, over two classes.
    to_p = 3 / 8 * math.log(3 / 4) + 5 / 8 * math.log(5 / 4)
    to_q = 3 / 8 * math.log(3 / 2) + 5 / 8 * math.log(5 / 6)
    expected = 1 - (to_p + to_q) / 2 / 2
    assert zero_retrain_forgetting_authors(LOGITS, STRANGER).tolist() == pytest.approx([expected], abs=1e-6)


def test_the_mean_over_examples_is_the_published_score() -> None:
    logits, untrained = torch.randn(2, 50, 7, generator=torch.Generator().manual_seed(0)).unbind()
    expected = published_score(logits.double().softmax(1), untrained.double().softmax(1))
    assert float(zero_retrain_forgetting_authors(logits, untrained).mean()) == pytest.approx(expected, abs=1e-6)


def test_the_authors_form_has_no_lower_bound() -> None:
    sure = torch.tensor([[0.0, -200.0]])
    assert zero_retrain_forgetting_authors(sure, sure.flip(1)).item() < -40


def test_entropy_by_hand() -> None:
    # Uniform over four classes: log 4. (1/4, 3/4): 1/4 log 4 + 3/4 log(4/3). A sure prediction: 0, even at -inf.
    assert entropy(torch.zeros(1, 4)).tolist() == pytest.approx([math.log(4)])
    assert entropy(STRANGER).tolist() == pytest.approx([0.25 * math.log(4) + 0.75 * math.log(4 / 3)], abs=1e-6)
    assert entropy(torch.tensor([[0.0, -math.inf]])).tolist() == [0.0]
