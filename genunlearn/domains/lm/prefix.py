"""What several prompts begin with, read once: its keys and values stand for it in every sequence of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import torch

from genunlearn.domains.lm.cache import roomy_cache
from genunlearn.domains.pretrained import input_device
from genunlearn.domains.sharding import shape_of

WORTHWHILE = 1e11
"""Least product of tokens saved and parameters of the network. Below it a second pass costs more than it saves."""


def shared_prefix(prompts: Sequence[list[int]]) -> int:
    """Number of ids that all prompts begin with; at least one id of each is left over, to predict from.

    Args:
        prompts: Token ids of at least one prompt, none of them empty.
    """
    first, last = min(prompts), max(prompts)  # in alphabetical order everything between begins like these two
    equal = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return min(sum(1 for _ in equal), min(map(len, prompts)) - 1)


def is_worthwhile(network: Any, num_shared: int, num_sequences: int) -> bool:
    """Whether reading a prefix once saves more than it costs, on a network whose cache can be shared at all."""
    return num_shared * (num_sequences - 1) * size_of(network) >= WORTHWHILE and can_share(network)


def size_of(network: Any) -> int:
    """How many parameters a network has, wherever they lie."""
    return sum(shape_of(weight).numel() for weight in network.parameters())


def can_share(network: Any) -> bool:
    """Whether the network's cache can be repeated for several sequences: one key and value a token in every layer."""
    config = network.config
    # Layers with a window, a state or a convolution keep something else.
    plain = not getattr(config, "sliding_window", None) and not getattr(config, "is_encoder_decoder", False)
    plain = plain and set(getattr(config, "layer_types", None) or ["full_attention"]) == {"full_attention"}
    supports = getattr(network, "_supports_default_dynamic_cache", None)
    return plain and supports is not None and supports() and not getattr(network, "_is_stateful", False)


@torch.no_grad()
def read_prefix(network: Any, ids: Sequence[int], num_sequences: int) -> Any:
    """The cache of a prefix, repeated for every sequence, as `generate` takes it.

    Returns:
        A `roomy_cache` of ``len(ids)`` tokens for `num_sequences` sequences.
    """
    cache = roomy_cache()
    device = input_device(network)
    network(input_ids=torch.tensor([list(ids)], device=device), past_key_values=cache, use_cache=True, logits_to_keep=1)
    cache.batch_repeat_interleave(num_sequences)
    return cache
