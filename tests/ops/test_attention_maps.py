"""Attention maps by hand."""

import pytest
import torch

from genunlearn.ops.attention_maps import attention_distance, attention_map


def test_channels_are_averaged_and_maps_have_unit_length() -> None:
    # Two channels on 1 x 2 pixels: mean squares (9 + 1) / 2 = 5 and 0, at unit length 1 and 0.
    activation = torch.tensor([[[[3.0, 0.0]], [[1.0, 0.0]]]])
    assert attention_map(activation).tolist() == [[1.0, 0.0]]
    # Squares 3 and 4 (means over channels) have length 5.
    activation = torch.tensor([[[[3.0, 4.0]]]]).sqrt()
    assert attention_map(activation)[0].tolist() == pytest.approx([0.6, 0.8])


def test_dense_layers_have_a_position_for_each_unit() -> None:
    assert attention_map(torch.tensor([[-(3.0**0.5), 2.0]]))[0].tolist() == pytest.approx([0.6, 0.8])


def test_sequence_layers_have_a_position_for_each_token() -> None:
    sequence = torch.tensor([[[3.0, 0.0], [4.0, 0.0]]]).sqrt()
    assert attention_map(sequence)[0].tolist() == pytest.approx([0.6, 0.8])


def test_an_inactive_layer_has_an_empty_map() -> None:
    assert attention_map(torch.zeros(1, 2, 2, 2)).tolist() == [[0.0, 0.0, 0.0, 0.0]]


def test_distance_is_the_mean_square_of_each_layer_summed() -> None:
    mine = [torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]])]
    other = [torch.tensor([[0.0, 1.0]]), torch.tensor([[0.6, 0.8]])]
    assert attention_distance(mine, other).tolist() == [1.0]
