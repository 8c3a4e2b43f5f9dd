"""Edits of a layer read as a memory: what they promise, and numbers worked by hand."""

from __future__ import annotations

import pytest
import torch

from genunlearn.ops.key_value_edits import null_space_change, rank_one_change, second_moment, weighted_change

KEPT = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))


def test_a_second_moment_is_not_centred():
    assert second_moment(torch.tensor([[1.0, 2.0], [3.0, 0.0]])).tolist() == [[5.0, 1.0], [1.0, 2.0]]


def test_rank_one_by_hand():
    # C = diag(4, 1), k = (2, 1): C^-1 k = (1/2, 1), k^T C^-1 k = 2. With r = (6): 6 (1/2, 1) / 2 = (1.5, 3).
    moment = torch.diag(torch.tensor([4.0, 1.0])).double()
    change = rank_one_change(torch.tensor([2.0, 1.0]), torch.tensor([6.0]), moment, 0.0)
    assert change.tolist() == [[1.5, 3.0]]


def test_rank_one_meets_the_new_value_exactly():
    key, residual = torch.randn(6), torch.randn(3)
    change = rank_one_change(key, residual, second_moment(KEPT), 0.01)
    assert torch.allclose(change @ key.double(), residual.double())
    assert torch.linalg.matrix_rank(change) == 1


def test_rank_one_disturbs_kept_keys_less_than_the_plain_outer_product():
    key, residual = KEPT[:1].mean(0) + 1, torch.ones(3)
    skewed = KEPT * torch.tensor([5.0, 1, 1, 1, 1, 1])
    ours = rank_one_change(key, residual, second_moment(skewed), 0.0)
    plain = torch.outer(residual, key).double() / key.double().square().sum()
    assert (skewed.double() @ ours.T).square().sum() < (skewed.double() @ plain.T).square().sum()


def test_weighted_by_hand():
    # d = 1, C = 2, weight 3, keys 1 and 2, residuals 1 and 4: (1 * 1 + 4 * 2) / (3 * 2 + 1 + 4) = 9/11.
    change = weighted_change(
        torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [4.0]]), second_moment(torch.tensor([[2.0**0.5]])), 3.0, 0.0
    )
    assert change.item() == pytest.approx(9 / 11)


def test_without_weight_on_kept_keys_new_values_are_met():
    keys, residuals = torch.randn(3, 6), torch.randn(3, 4)
    change = weighted_change(keys, residuals, second_moment(KEPT), 1e-9, 0.0)
    assert torch.allclose(change @ keys.double().T, residuals.double().T, atol=1e-5)


def test_one_key_alone_is_the_rank_one_change_in_the_limit():
    key, residual, moment = torch.randn(6), torch.randn(3), second_moment(KEPT)
    first = weighted_change(key[None], residual[None], moment, 1e-8, 0.0)
    assert torch.allclose(first, rank_one_change(key, residual, moment, 0.0), atol=1e-5)


def test_within_the_null_space_kept_keys_keep_their_values():
    flat = KEPT.clone()
    flat[:, 4:] = 0  # nothing is read in two of the six directions
    key = torch.tensor([1.0, 0, 0, 0, 2.0, 0])
    change = null_space_change(key[None], torch.tensor([[3.0]]), second_moment(flat), 0.01, 1e-9)
    assert torch.allclose(flat.double() @ change.T, torch.zeros(50, 1).double(), atol=1e-9)
    # The free part of the key is (0, 0, 0, 0, 2, 0): the change is 3/2 there, and the key gets its value.
    assert change[0].tolist() == pytest.approx([0, 0, 0, 0, 1.5, 0], abs=1e-6)


def test_without_free_directions_nothing_is_changed():
    change = null_space_change(torch.ones(1, 6), torch.ones(1, 2), second_moment(KEPT), 1e-9, 0.01)
    assert change.abs().max() == 0
