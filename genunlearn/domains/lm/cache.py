"""Keys and values of the tokens that were read, with room behind them for the tokens to come."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

ROOM = 64
"""Tokens that are made room for at a time."""


class RoomyLayer(DynamicLayer):
    """One layer's keys and values: a token is written behind the others, where `DynamicLayer` copies all for each.

    Attributes:
        keys: ``(batch, heads, tokens, width)``, a view of what there is room for.
        values: Likewise.
    """

    _room: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **options: Any) -> tuple[Tensor, Tensor]:
        """Keys and values so far with those of further tokens behind them; both ``(batch, heads, tokens, width)``."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        begin = self.get_seq_length()
        end = begin + key_states.shape[-2]
        room = self._room
        # Once sequences were repeated, chosen or put in another order, the keys lie elsewhere.
        if room is None or room[0].data_ptr() != self.keys.data_ptr() or room[0].shape[-2] < end:
            self._room = room = _room_for(self.keys, key_states), _room_for(self.values, value_states)
        for held, states in zip(room, (key_states, value_states), strict=True):
            held[:, :, begin:end] = states
        self.keys, self.values = (held[:, :, :end] for held in room)
        return self.keys, self.values


def roomy_cache() -> Cache:
    """An empty cache for a network that keeps a key and a value a token in every layer."""
    return Cache(layer_class_to_replicate=RoomyLayer)


def _room_for(held: Tensor, states: Tensor) -> Tensor:
    """What is `held`, and unwritten places behind it for `states` and `ROOM` more."""
    begin = held.shape[-2] if held.numel() else 0
    batch, heads, tokens, width = states.shape
    room = torch.empty(batch, heads, begin + tokens + ROOM, width, dtype=states.dtype, device=states.device)
    if begin:
        room[:, :, :begin] = held
    return room
