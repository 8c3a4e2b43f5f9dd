"""How many sequences go through a language model at once: as many as the memory of its device takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from genunlearn.domains.sharding import part

MOST_SEQUENCES = {"cpu": 128, "cuda": 1024}
"""In one batch, however short they are: more of them make no device faster."""
CPU_BYTES = 2**31
"""For what a batch keeps on the CPU; on a GPU it is half of what the weights leave of the whole memory."""
FLOATS_A_LOGIT = 3
"""Logits, their softmax, and the random numbers that a token is drawn with."""


@dataclass(frozen=True)
class Room:
    """What a batch may take. It depends on machine and model alone, so that the same run is cut the same way again.

    Attributes:
        sequences: At most.
        memory: Bytes at most.
        token: Bytes that a token of a sequence keeps: its keys and values.
        sequence: Bytes that each sequence takes beside them: its next token's logits.
    """

    sequences: int
    memory: float
    token: int
    sequence: int

    @classmethod
    def of(cls, network: Any, device: torch.device, sequences: int | None) -> Room:
        """The room that `device` has beside the weights of `network`, for at most so many `sequences`."""
        config = network.config.get_text_config()
        heads = getattr(config, "num_attention_heads", 0)
        kept = getattr(config, "num_key_value_heads", None) or heads
        width = getattr(config, "head_dim", None) or getattr(config, "hidden_size", 0) // max(1, heads)
        token = 2 * getattr(config, "num_hidden_layers", 0) * kept * width * network.dtype.itemsize
        memory: float = CPU_BYTES
        if device.type == "cuda":
            weights = sum(part(weight).nbytes for weight in network.parameters() if weight.device == device)
            memory = max(0, torch.cuda.get_device_properties(device).total_memory - weights) / 2
        most = sequences or MOST_SEQUENCES.get(device.type, MOST_SEQUENCES["cpu"])
        return cls(most, memory, token, 4 * FLOATS_A_LOGIT * config.vocab_size)

    def takes(self, sequences: int, tokens: int) -> bool:
        """Whether so many sequences of so many tokens each fit."""
        return sequences <= self.sequences and sequences * (tokens * self.token + self.sequence) <= self.memory


def cut_batches(order: Sequence[int], tokens: Callable[[int], int], samples: int, room: Room) -> list[list[int]]:
    """Cut sorted items into batches.

    Args:
        order: The items; each is at least as long as the one before.
        tokens: Length of the sequences of an item.
        samples: Sequences of each item.
        room: What a batch may take; a single item is a batch in any case.
    """
    batches: list[list[int]] = []
    for item in order:
        if batches and room.takes((len(batches[-1]) + 1) * samples, tokens(item)):
            batches[-1].append(item)
        else:
            batches.append([item])
    return batches
