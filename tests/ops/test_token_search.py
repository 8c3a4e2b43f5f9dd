"""The simplex projection against its definition, draws and nearest tokens with their gradients."""

from __future__ import annotations

import pytest
import torch

from genunlearn.ops.token_search import drawn_one_hot, nearest_tokens, project_to_simplex, snapped


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_projection_by_hand() -> None:
    # (0.5, 0.9, -0.2): with the two largest tau = (1.4 - 1) / 2 = 0.2, and 0.5 > 0.2 > -0.2: (0.3, 0.7, 0).
    # (3, 1, 0): one is enough, tau = 2. (0.2, 0.3, 0.5) is a distribution already.
    values = torch.tensor([[0.5, 0.9, -0.2], [3.0, 1.0, 0.0], [0.2, 0.3, 0.5]])
    expected = torch.tensor([[0.3, 0.7, 0.0], [1.0, 0.0, 0.0], [0.2, 0.3, 0.5]])
    torch.testing.assert_close(project_to_simplex(values), expected)


def test_projection_is_optimal() -> None:
    # p is the projection of x if and only if (x - p) . (q - p) <= 0 for every corner q of the simplex.
    values = 3 * torch.randn(4, 5, 40, generator=generator(), dtype=torch.float64)
    found = project_to_simplex(values)
    torch.testing.assert_close(found.sum(-1), torch.ones(4, 5, dtype=torch.float64))
    residual = values - found
    assert (residual - (residual * found).sum(-1, keepdim=True)).max() < 1e-9 and found.min() >= 0
    torch.testing.assert_close(project_to_simplex(found), found)


def test_a_draw_is_one_hot_and_lets_gradients_through() -> None:
    shares = torch.tensor([[0.0, 1.0, 0.0], [0.25, 0.25, 0.5]], requires_grad=True)
    drawn = drawn_one_hot(shares, generator())
    assert drawn[0].tolist() == pytest.approx([0, 1, 0]) and drawn.sum(-1).tolist() == pytest.approx([1, 1])
    assert sorted(drawn[1].tolist()) == pytest.approx([0, 0, 1])
    weights = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    (drawn * weights).sum().backward()
    assert torch.equal(shares.grad, weights)


def test_draws_follow_the_shares() -> None:
    shares = torch.tensor([0.2, 0.0, 0.8]).repeat(4000, 1)
    means = drawn_one_hot(shares, generator()).mean(0)
    assert means.tolist() == pytest.approx([0.2, 0, 0.8], abs=0.03)


def test_nearest_tokens_and_their_gradients() -> None:
    vocabulary = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    vectors = torch.tensor([[[0.9, 0.2]], [[0.1, 0.1]]], requires_grad=True)
    assert nearest_tokens(vectors, vocabulary).tolist() == [[1], [0]]
    assert nearest_tokens(vectors, vocabulary, banned=torch.tensor([0, 1])).tolist() == [[2], [2]]
    seen = snapped(vectors, vocabulary)
    torch.testing.assert_close(seen.detach(), vocabulary[torch.tensor([[1], [0]])])
    (seen * torch.tensor([2.0, 3.0])).sum().backward()
    assert vectors.grad.flatten().tolist() == [2, 3, 2, 3]
