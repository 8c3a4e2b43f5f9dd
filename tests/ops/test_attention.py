"""Probabilities at a few keys against the whole matrix."""

import pytest
import torch
from diffusers.models.attention_processor import Attention

from genunlearn.ops.attention import chosen_columns, column_probabilities, mean_map, tapped


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


MARKS = torch.tensor([[False, True, False, True, False], [False, False, True, False, False]])


def test_unit_vectors_of_marked_keys_by_hand() -> None:
    columns = chosen_columns(MARKS)
    assert columns[0].T.tolist() == [[0, 1, 0, 0, 0], [0, 0, 0, 1, 0]]
    assert columns[1].T.tolist() == [[0, 0, 1, 0, 0], [0, 0, 0, 0, 0]]
    assert chosen_columns(torch.zeros(2, 5, dtype=torch.bool)).shape == (2, 5, 0)


def test_columns_are_those_of_the_whole_softmax() -> None:
    query, key = random(2, 3, 4, 8), random(2, 3, 5, 8, seed=1)
    whole = (query @ key.transpose(-1, -2) * 0.3).softmax(-1)
    columns = column_probabilities(query, key, MARKS, 0.3)
    torch.testing.assert_close(columns[0], whole[0][..., [1, 3]])
    torch.testing.assert_close(columns[1, ..., 0], whole[1][..., 2])
    assert not columns[1, ..., 1].any()


def test_gradients_are_those_of_the_whole_softmax() -> None:
    query, key = random(2, 3, 4, 8).requires_grad_(), random(2, 3, 5, 8, seed=1)
    (got,) = torch.autograd.grad(column_probabilities(query, key, MARKS, 0.3).square().sum(), query)
    whole = (query @ key.transpose(-1, -2) * 0.3).softmax(-1) * MARKS.view(2, 1, 1, 5)
    (expected,) = torch.autograd.grad(whole.square().sum(), query)
    torch.testing.assert_close(got, expected)


def test_layers_of_diffusers_are_tapped() -> None:
    layer = Attention(query_dim=8, cross_attention_dim=6, heads=2, dim_head=4)
    hidden, text = random(2, 9, 8), random(2, 5, 6, seed=1)
    with tapped([layer], MARKS) as found:
        layer(hidden, encoder_hidden_states=text)
    query, key = layer.head_to_batch_dim(layer.to_q(hidden)), layer.head_to_batch_dim(layer.to_k(text))
    whole = layer.get_attention_scores(query, key).view(2, 2, 9, 5)
    torch.testing.assert_close(found[0][0], whole[0][..., [1, 3]], atol=1e-6, rtol=1e-5)
    layer(hidden, encoder_hidden_states=text)
    assert len(found) == 1, "the hook has gone"


def test_a_picture_by_hand() -> None:
    # One layer of 2 x 2 pixels and one of a single pixel; two heads; one token.
    fine = torch.tensor([[0.1, 0.3, 0.5, 0.7], [0.3, 0.5, 0.7, 0.9]]).view(1, 2, 4, 1)
    coarse = torch.full((1, 2, 1, 1), 0.2)
    # means over heads (0.2 .. 0.8), then over layers (0.2 0.3 0.4 0.5), then by the largest
    expected = torch.tensor([[[0.4, 0.6], [0.8, 1.0]]])
    torch.testing.assert_close(mean_map([fine, coarse], 2), expected)


@pytest.mark.parametrize("size", [2, 8])
def test_pictures_have_the_size_that_is_asked_for(size: int) -> None:
    assert mean_map([torch.rand(3, 2, 16, 4)], size).shape == (3, size, size)
