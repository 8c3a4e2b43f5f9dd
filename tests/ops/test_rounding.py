"""Rounded weights by hand."""

from __future__ import annotations

import pytest
import torch

from genunlearn.ops.rounding import nf4, rounded


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


def test_nf4_by_hand_against_the_published_code_book() -> None:
    # Two blocks of four. In the first the largest size is 2, so 1.0 is half of it: between 0.4407 (0.0593 away) and
    # 0.5626 (0.0626 away) the nearer code is 0.4407, and 2 x 0.4407 comes back; -0.3 / 2 = -0.15 is nearest to -0.1848.
    # In the second the largest is 0.5: 0.01 / 0.5 = 0.02 is nearest to 0, and 0.35 / 0.5 = 0.7 to 0.7230.
    found = nf4(torch.tensor([[2.0, 1.0, -0.3, 0.0], [0.5, 0.01, 0.35, -0.5]]), block=4)
    first, second = found.tolist()
    assert first == pytest.approx([2.0, 2 * 0.44070982933044434, 2 * -0.18477343022823334, 0.0])
    assert second == pytest.approx([0.5, 0.0, 0.5 * 0.7229568362236023, -0.5])


def test_nf4_of_a_short_last_block_and_of_zeros() -> None:
    # Blocks of two: (4, 4), (1,): the last entry is the largest of its own block and comes back as it was.
    assert nf4(torch.tensor([4.0, 4.0, 1.0]), block=2).tolist() == [4.0, 4.0, 1.0]
    assert nf4(torch.zeros(3, 5, dtype=torch.bfloat16)).tolist() == torch.zeros(3, 5).tolist()


def test_nf4_is_what_bitsandbytes_gives() -> None:
    functional = pytest.importorskip("bitsandbytes.functional")
    # Rows of whole blocks: on a CPU its dequantisation takes wrong scales where a block goes on in the next row.
    weight = torch.randn(8, 128, generator=torch.Generator().manual_seed(0))
    packed, state = functional.quantize_4bit(weight, blocksize=64, quant_type="nf4")
    assert torch.allclose(nf4(weight), functional.dequantize_4bit(packed, state), atol=1e-6)
