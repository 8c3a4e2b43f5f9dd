"""Golden values worked by hand."""

import math

import pytest
import torch

from genunlearn.ops.logprobs import IGNORE, answer_lengths, answer_logprobs, extraction_strength


def test_answer_logprobs_are_log_softmax_at_the_labels():
    # Two tokens in the vocabulary. Position 0 predicts label 1: logits (0, ln 3) give p = (1/4, 3/4).
    # Position 1 predicts label 0: logits (ln 4, 0) give p = (4/5, 1/5).
    logits = torch.tensor([[[0.0, math.log(3)], [math.log(4), 0.0], [9.0, 9.0]]])
    labels = torch.tensor([[IGNORE, 1, 0]])
    expected = [math.log(3 / 4), math.log(4 / 5)]
    assert answer_logprobs(logits, labels)[0].tolist() == pytest.approx(expected, abs=1e-6)


def test_ignored_labels_count_nothing():
    logits = torch.randn(1, 4, 5)
    labels = torch.tensor([[IGNORE, IGNORE, 3, IGNORE]])
    values = answer_logprobs(logits, labels)[0]
    assert values[0] == 0 and values[2] == 0
    assert values[1] == pytest.approx(logits[0, 1].log_softmax(-1)[3].item(), abs=1e-6)


def test_kept_logits_are_aligned_at_the_end():
    logits = torch.randn(2, 7, 11)
    labels = torch.full((2, 7), IGNORE)
    labels[:, 5:] = torch.tensor([[1, 2], [3, 4]])
    whole = answer_logprobs(logits, labels)
    assert torch.equal(answer_logprobs(logits[:, -3:], labels), whole[:, -2:])


def test_lengths_leave_out_a_first_token_that_nothing_predicts():
    assert answer_lengths(torch.tensor([[7, 8, IGNORE, 9]])).tolist() == [2]


@pytest.mark.parametrize(
    ("correct", "expected"),
    [
        ([1, 1, 1, 1], 1.0),  # k = 0
        ([0, 1, 1, 1], 0.75),  # k = 1: three of four tokens follow
        ([1, 1, 0, 1], 0.25),  # the last mistake is at 2, so k = 3
        ([1, 1, 1, 0], 0.0),  # nothing follows by itself
    ],
)
def test_extraction_strength_counts_the_tail_without_mistakes(correct, expected):
    mask = torch.tensor([[False, True, True, True, True]])
    row = torch.tensor([[False, *map(bool, correct)]])
    assert extraction_strength(row, mask).item() == pytest.approx(expected)
