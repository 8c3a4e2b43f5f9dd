"""Looking into a network: which layers to watch, and what they attend to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from genunlearn.errors import MismatchError
from genunlearn.ops.attention_maps import attention_map


def put_channels_last(module: nn.Module) -> None:
    """Lay the weights of convolutions out with the channels last, in place; values stay as they are."""
    for weight in module.parameters():
        if weight.dim() == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)


def default_layers(network: nn.Module, forward: Callable[[], Tensor]) -> tuple[str, ...]:
    """The layers whose attention is compared.

    In a convolutional network the last part at each picture size; in any other the hidden linear layers.

    Args:
        network: The network.
        forward: Runs it once.

    Raises:
        MismatchError: The network has neither.
    """
    by_size: dict[tuple[int, int], str] = {}
    names = [name for name, _ in network.named_modules() if name]
    with _Watch(network, names) as seen:
        forward()
    for name, output in seen:
        if output.dim() == 4 and output.shape[-2:].numel() > 1:
            by_size[output.shape[-2], output.shape[-1]] = name
    linear = [name for name, _ in seen if isinstance(network.get_submodule(name), nn.Linear)]
    chosen = tuple(by_size.values()) or tuple(linear[:-1])
    if not chosen:
        raise MismatchError("no hidden layers found to compare attention in: name them in feature_layers")
    return chosen


def attend(network: nn.Module, layers: Sequence[str], forward: Callable[[], Tensor]) -> tuple[Tensor, list[Tensor]]:
    """What `forward` returns, and the attention map ``(batch, positions)`` of each of `layers`.

    Raises:
        MismatchError: A layer does not exist.
    """
    known = {name for name, _ in network.named_modules()}
    if missing := [name for name in layers if name not in known]:
        raise MismatchError(f"feature_layers: the network has no layer {missing[0]!r}")
    with _Watch(network, layers) as seen:
        outputs = forward()
    activations = dict(seen)
    return outputs, [attention_map(activations[name]) for name in layers]


class _Watch:
    """Collects ``(name, output)`` of layers, in the order in which they ran."""

    def __init__(self, network: nn.Module, names: Sequence[str]) -> None:
        self._parts = [(name, network.get_submodule(name)) for name in names]

    def __enter__(self) -> list[tuple[str, Tensor]]:
        seen: list[tuple[str, Tensor]] = []

        def note(name: str) -> Callable[..., None]:
            def hook(part: nn.Module, inputs: object, output: object) -> None:
                if isinstance(output, Tensor):
                    seen.append((name, output))

            return hook

        self._handles = [part.register_forward_hook(note(name)) for name, part in self._parts]
        return seen

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
