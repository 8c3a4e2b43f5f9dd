"""Approximate rank pooling: weights by hand, rest gives nothing, movement leaves its trace."""

from __future__ import annotations

import pytest
import torch

from genunlearn.ops.dynamic_images import dynamic_image, rank_pooling_weights


def test_weights_of_five_frames():
    # H_5 = 137/60. a_1 = 2*5 - 6*137/60 = -3.7; a_2 = 8 - 6*(137/60 - 1) = 0.3; a_3 = 6 - 6*(137/60 - 3/2) = 1.3;
    # a_4 = 4 - 6*(137/60 - 11/6) = 1.3; a_5 = 2 - 6*(137/60 - 25/12) = 0.8
    assert rank_pooling_weights(5).tolist() == pytest.approx([-3.7, 0.3, 1.3, 1.3, 0.8], abs=1e-12)
    assert rank_pooling_weights(5, is_simple=True).tolist() == [-4, -2, 0, 2, 4]


@pytest.mark.parametrize("is_simple", [False, True])
@pytest.mark.parametrize("frames", [1, 2, 7, 100])
def test_weights_sum_to_zero(frames, is_simple):
    assert float(rank_pooling_weights(frames, is_simple=is_simple).sum()) == pytest.approx(0, abs=1e-9)


def test_rest_leaves_nothing_and_a_step_leaves_two_traces():
    frames = torch.zeros(5, 1, 2, 2)
    frames[:, 0, 0, 0] = 0.5  # at rest
    frames[0, 0, 0, 1] = 1.0  # there in the first frame, then gone
    frames[4, 0, 1, 1] = 1.0  # there in the last frame alone
    assert torch.allclose(dynamic_image(frames)[0], torch.tensor([[0.0, -3.7], [0.0, 0.8]]), atol=1e-6)
