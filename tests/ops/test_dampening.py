"""Dampening factors by hand."""

import pytest
import torch

from genunlearn.ops.dampening import dampening_factor


def test_only_weights_that_matter_more_for_the_forget_set_shrink() -> None:
    forget, everything = torch.tensor([4.0, 1.0, 0.0, 2.0]), torch.tensor([1.0, 1.0, 0.0, 0.0])
    # 4 > 2 * 1: 1/4.  1 > 2 * 1 is false: 1.  0 > 0 is false: 1.  2 > 0: 0 / 2 = 0.
    assert dampening_factor(forget, everything, alpha=2, strength=1).tolist() == [0.25, 1.0, 1.0, 0.0]


def test_strength_scales_the_ratio_and_never_enlarges_a_weight() -> None:
    forget, everything = torch.tensor([4.0, 3.0]), torch.tensor([1.0, 1.0])
    assert dampening_factor(forget, everything, alpha=1, strength=2).tolist() == pytest.approx([0.5, 2 / 3])
    assert dampening_factor(forget, everything, alpha=1, strength=10).tolist() == [1.0, 1.0]
