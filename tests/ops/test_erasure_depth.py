"""Unlearning depth by hand."""

from __future__ import annotations

import pytest

from genunlearn.ops.erasure_depth import erasure_depth


def test_layers_count_by_what_the_retain_model_lacks():
    # Layers 1 and 2 hold the fact, 0.04 is below the threshold: (min(1, 0.25) + min(3, 9)) / 4 = 3.25 / 4.
    assert erasure_depth([0.04, 1.0, 3.0], [5.0, 0.25, 9.0]) == pytest.approx(3.25 / 4)


def test_a_layer_that_says_more_than_the_original_has_lost_nothing():
    assert erasure_depth([1.0, 1.0], [-2.0, 1.0]) == pytest.approx(1 / 2)


def test_the_original_has_depth_0_and_the_retain_model_1():
    lost = [0.1, 0.7, 2.0]
    assert (erasure_depth(lost, [0.0] * 3), erasure_depth(lost, lost)) == (0.0, 1.0)


def test_without_a_layer_that_holds_it_there_is_no_depth():
    assert erasure_depth([0.05, -1.0], [1.0, 1.0]) is None
