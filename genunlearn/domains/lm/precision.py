"""In which number format a LoRA is computed: its weights stay in float32, its products are those of the base."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from genunlearn.domains.sharding import is_sharded

SHORT = (torch.bfloat16,)
"""Types of a base in which a float32 LoRA is computed; float16 has too small a range for gradients."""


@contextmanager
def adapters_as_base(network: Any) -> Iterator[None]:
    """Within the block, a float32 LoRA on a bfloat16 base is multiplied in bfloat16.

    Otherwise each of its layers turns its input into float32 and back, and multiplies in float32, which GPUs do many
    times more slowly. Optimiser and weights do not notice: gradients arrive in float32.
    """
    layers = _layers(network)
    if not layers:
        yield
        return
    device = next(network.parameters()).device.type
    with _inputs_as_they_come(layers), torch.autocast(device, network.get_output_embeddings().weight.dtype):
        yield


@contextmanager
def rounded_adapters(network: Any) -> Iterator[None]:
    """The same for a block in which nothing is trained: the LoRA's weights are rounded once, and not in every step.

    Sharded weights stay as they are.
    """
    layers = [] if is_sharded(network) else _layers(network)
    if not layers:
        yield
        return
    dtype = network.get_output_embeddings().weight.dtype
    weights = [weight for layer in layers for weight in _weights(layer)]
    exact = [weight.data for weight in weights]
    try:
        for weight in weights:
            weight.data = weight.data.to(dtype)
        with _inputs_as_they_come(layers):
            yield
    finally:
        for weight, data in zip(weights, exact, strict=True):
            weight.data = data


@contextmanager
def _inputs_as_they_come(layers: list[Any]) -> Iterator[None]:
    """Within the block, the layers turn no input into the type of their own weights."""
    before = [layer.cast_input_dtype_enabled for layer in layers]
    try:
        for layer in layers:
            layer.cast_input_dtype_enabled = False
        yield
    finally:
        for layer, is_enabled in zip(layers, before, strict=True):
            layer.cast_input_dtype_enabled = is_enabled


def _layers(network: Any) -> list[Any]:
    """Layers of a network that carry a LoRA in float32 beside a base in a type of `SHORT`; none in all other cases."""
    if not hasattr(network, "peft_config"):
        return []
    from peft.tuners.tuners_utils import BaseTunerLayer

    head = network.get_output_embeddings()
    if getattr(getattr(head, "weight", None), "dtype", None) not in SHORT:
        return []
    layers: list[Any] = [part for part in network.modules() if isinstance(part, BaseTunerLayer)]
    weights = [weight for layer in layers for weight in _weights(layer)]
    return layers if weights and all(weight.dtype == torch.float32 for weight in weights) else []


def _weights(layer: Any) -> list[torch.nn.Parameter]:
    return [weight for name, weight in layer.named_parameters() if ".lora_" in f".{name}"]
