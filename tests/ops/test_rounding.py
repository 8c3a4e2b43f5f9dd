"""Rounded weights by hand."""

from __future__ import annotations

import pytest
import torch

from genunlearn.ops.rounding import rounded


def test_rows_have_levels_of_their_own() -> None:
    # 3 bits: levels -3 .. 3. Row 1 in steps of 0.3: 0.9, 0.4 -> 0.3, -0.1 -> 0; row 2 in steps of 10.
    found = rounded(torch.tensor([[0.9, 0.4, -0.1], [30.0, -14.0, 16.0]]), 3)
    assert found.tolist() == [pytest.approx([0.9, 0.3, 0]), pytest.approx([30, -10, 20])]


def test_kernels_keep_their_shape_and_empty_rows_stay() -> None:
    weight = torch.zeros(2, 3, 3, 3, dtype=torch.bfloat16)
    assert torch.equal(rounded(weight, 4), weight) and rounded(weight, 4).dtype == torch.bfloat16


def test_many_bits_change_little() -> None:
    weight = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(rounded(weight, 16), weight, atol=1e-4, rtol=0)
