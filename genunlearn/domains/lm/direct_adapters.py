"""A LoRA's layers while they decode: their products, and nothing around them.

A step of decoding is some hundreds of small products. What peft asks of each layer before it multiplies (which adapters
are active, folded in, mixed in one batch, dropped out) and its scaling of each result then take about a tenth of it. A
LoRA that is not trained yet takes no less time than a trained one, to add zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import frexp
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from genunlearn.domains.sharding import is_sharded

EXACT = (torch.float32, torch.bfloat16)
"""Number formats in which doubling and halving round nothing; the small numbers of float16 lose bits."""


@contextmanager
def direct_adapters(network: nn.Module) -> Iterator[None]:
    """Within the block, layers with one plain LoRA of the base's number format multiply and add only.

    The numbers are those of peft to the last bit, where weights are finite. All other layers stay as they are, and so
    does everything on sharded weights. For decoding without gradients: within the block nobody notices that an adapter
    is changed or switched off, or has hooks of its own.
    """
    layers = [] if is_sharded(network) or not hasattr(network, "peft_config") else [*_plain_layers(network)]
    try:
        for layer in layers:
            layer.forward = _direct(layer)
        yield
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)


def _plain_layers(network: nn.Module) -> Iterator[Any]:
    from peft.tuners.lora import Linear

    return (part for part in network.modules() if type(part) is Linear and _is_plain(part))


def _is_plain(layer: Any) -> bool:
    """Whether all that a layer does is to add one adapter's products to the base's."""
    if layer.training or layer.disable_adapters or layer.merged or layer.lora_variant or "forward" in vars(layer):
        return False
    names, dtype = _active(layer), layer.get_base_layer().weight.dtype
    return len(names) == 1 and all(
        part.bias is None and part.weight.dtype == dtype and dtype in EXACT and not part.weight.is_meta
        for part in (layer.lora_A[names[0]], layer.lora_B[names[0]])
    )


def _active(layer: Any) -> list[str]:
    return [name for name in layer.active_adapters if name in layer.lora_A]


def _direct(layer: Any) -> Callable[[Tensor], Tensor]:
    name, base = _active(layer)[0], layer.base_layer
    down, up, scaling = layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name]
    if not up.any():  # not trained yet: it would add zeros
        return lambda states: base(states)  # a function: a module would be taken for a part of the layer
    if frexp(scaling)[0] == 0.5:  # a power of two rounds nothing: it may go to the weights, once, in place of products
        up, scaling = up * scaling, 1

    def forward(states: Tensor) -> Tensor:
        products = linear(linear(states, down), up)
        return (products if scaling == 1 else products.mul_(scaling)).add_(base(states))

    return forward
