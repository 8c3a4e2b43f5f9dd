"""A cache with room behind its tokens gives a network the numbers that the library's own gives."""

from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache

from genunlearn.domains.lm.cache import ROOM, RoomyLayer, roomy_cache
from tests.tiny_models import FAMILIES

IDS = torch.tensor([[5, 9, 2, 7], [3, 3, 8, 1]])


@torch.no_grad()
def logits(network, cache, steps: int) -> torch.Tensor:
    """What follows two prompts, each drawn twice, of which the third goes on for `steps` tokens beside the first."""
    network(input_ids=IDS, past_key_values=cache, use_cache=True)
    cache.batch_repeat_interleave(2)
    rows = []
    for step in range(steps):
        if step == 2:
            cache.batch_select_indices(torch.tensor([0, 2]))
        ids = torch.full((len(cache.layers[0].keys), 1), step % 11 + 1)
        rows.append(network(input_ids=ids, past_key_values=cache, use_cache=True).logits[:2])
    return torch.stack(rows)


@pytest.mark.parametrize("family", FAMILIES)
def test_numbers_are_those_of_the_librarys_cache(tiny, family):
    network, steps = tiny(family).network.eval(), ROOM + 6  # room is made twice
    assert torch.equal(logits(network, roomy_cache(), steps), logits(network, DynamicCache(), steps))


def test_a_token_is_written_behind_the_others_which_stay_where_they_are():
    layer, states = RoomyLayer(), torch.arange(6.0).view(1, 1, 3, 2)
    before, _ = layer.update(states, -states)
    keys, values = layer.update(states[:, :, :1] + 10, states[:, :, :1])
    assert keys.data_ptr() == before.data_ptr()
    assert keys.tolist() == [[[[0, 1], [2, 3], [4, 5], [10, 11]]]]
    assert values[0, 0, -1].tolist() == [0, 1] and layer.get_seq_length() == 4


def test_sequences_that_are_repeated_or_left_out_share_no_memory():
    layer, states = RoomyLayer(), torch.arange(4.0).view(2, 1, 1, 2)
    layer.update(states, states)
    layer.batch_repeat_interleave(2)
    layer.batch_select_indices(torch.tensor([1, 2]))
    keys, _ = layer.update(states + 10, states)
    assert keys[:, 0].tolist() == [[[0, 1], [10, 11]], [[2, 3], [12, 13]]]


def test_sequences_in_another_order_are_not_written_over_the_old_ones():
    layer, states = RoomyLayer(), torch.arange(4.0).view(2, 1, 1, 2)
    layer.update(states, states)
    layer.reorder_cache(torch.tensor([1, 0]))
    keys, _ = layer.update(states + 10, states)
    assert keys[:, 0].tolist() == [[[2, 3], [10, 11]], [[0, 1], [12, 13]]]
