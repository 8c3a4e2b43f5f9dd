"""Dampening factors by hand."""

import pytest
import torch

from genunlearn.ops.dampening import contribution_factor, dampening_factor


def test_only_weights_that_matter_more_for_the_forget_set_shrink() -> None:
    forget, everything = torch.tensor([4.0, 1.0, 0.0, 2.0]), torch.tensor([1.0, 1.0, 0.0, 0.0])
    # 4 > 2 * 1: 1/4.  1 > 2 * 1 is false: 1.  0 > 0 is false: 1.  2 > 0: 0 / 2 = 0.
    assert dampening_factor(forget, everything, alpha=2, strength=1).tolist() == [0.25, 1.0, 1.0, 0.0]


def test_strength_scales_the_ratio_and_never_enlarges_a_weight() -> None:
    forget, everything = torch.tensor([4.0, 3.0]), torch.tensor([1.0, 1.0])
    assert dampening_factor(forget, everything, alpha=1, strength=2).tolist() == pytest.approx([0.5, 2 / 3])
    assert dampening_factor(forget, everything, alpha=1, strength=10).tolist() == [1.0, 1.0]


# ---- contributions ----------------------------------------------------------------------------------------------

FORGET, OTHERS = torch.tensor([4.0, 2.0, 1.0, 0.0, 0.0]), torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0])
# r = 0.25, 0.5, 1, very large, and 1 where nobody has moved a weight.


def test_a_weight_is_dampened_by_its_ratio_where_that_is_below_the_cutoff() -> None:
    assert contribution_factor(FORGET, OTHERS, cutoff=0.6, strength=1).tolist() == [0.25, 0.5, 1, 1, 1]
    assert contribution_factor(FORGET, OTHERS, cutoff=0.5, strength=1).tolist() == [0.25, 1, 1, 1, 1]  # strictly below
    assert contribution_factor(FORGET, OTHERS, cutoff=0.6, strength=0.5).tolist() == [0.125, 0.25, 1, 1, 1]


def test_strength_0_sets_exactly_what_is_selected_to_0() -> None:
    assert contribution_factor(FORGET, OTHERS, cutoff=0.6, strength=0).tolist() == [0, 0, 1, 1, 1]


def test_factors_are_cut_at_the_upper_end_and_above_1_they_enlarge() -> None:
    assert contribution_factor(FORGET, OTHERS, cutoff=0.6, strength=10).tolist() == [1, 1, 1, 1, 1]
    found = contribution_factor(FORGET, OTHERS, cutoff=0.6, strength=10, upper=10)
    assert found.tolist() == [2.5, 5, 1, 1, 1]  # the published lambda and U of MNIST: such weights grow


@pytest.mark.parametrize("cutoff", [0.3, 0.4, 0.999])
def test_the_printed_rule_changes_nothing_with_the_published_settings(cutoff: float) -> None:
    ratio = torch.linspace(0.01, 60, 6000)
    factor = contribution_factor(torch.ones_like(ratio), ratio, cutoff=cutoff, strength=1, rule="printed")
    # min(r, 1) < cutoff r needs r > 1 / cutoff > 1, and there the factor is 1.
    assert factor.unique().tolist() == [1.0]


def test_the_printed_rule_only_enlarges_with_the_settings_of_mnist() -> None:
    ratio = torch.tensor([0.1, 1.0, 24.0, 26.0])
    factor = contribution_factor(torch.ones_like(ratio), ratio, cutoff=0.4, strength=10, upper=10, rule="printed")
    assert factor.tolist() == [1, 1, 1, 10]  # 10 < 0.4 r where r > 25
