"""Centres of vectors."""

import torch

from genunlearn.ops.clusters import k_means


def test_two_heaps_by_hand() -> None:
    rows = torch.tensor([[0.0, 0.0], [0.0, 1.0], [10.0, 0.0], [10.0, 1.0], [10.0, 2.0]])
    centres = k_means(rows, 2)
    torch.testing.assert_close(centres[centres[:, 0].argsort()], torch.tensor([[0.0, 0.5], [10.0, 1.0]]))


def test_no_more_centres_than_rows_and_equal_rows_share_one() -> None:
    assert k_means(torch.ones(2, 3), 5).shape == (2, 3)
    torch.testing.assert_close(k_means(torch.ones(9, 3), 3), torch.ones(3, 3))


def test_the_same_rows_give_the_same_centres() -> None:
    rows = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(k_means(rows, 3), k_means(rows, 3))
