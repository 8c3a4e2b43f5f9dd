"""The message-passing layers of a graph network, and the operator that GNNDelete puts behind each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from genunlearn.errors import MismatchError


class DeletionLayer(nn.Module):
    """A message-passing layer whose outputs at some nodes go through a matrix.

    Attributes:
        conv: The layer.
        rows: ``(nodes,)`` bool, whose outputs do.
        deletion: ``(outputs, outputs)``, begins at one thousandth everywhere.
    """

    def __init__(self, conv: nn.Module, rows: Tensor, width: int) -> None:
        """`width`: how many outputs the layer has at a node."""
        super().__init__()
        self.conv = conv
        self.register_buffer("rows", rows)
        self.deletion = nn.Parameter(torch.full((width, width), 1e-3))

    def forward(self, *args: Any, **inputs: Any) -> Tensor:
        """``(nodes, outputs)``."""
        outputs = self.conv(*args, **inputs)
        return torch.where(self.get_buffer("rows")[:, None], outputs @ self.deletion, outputs)

    def reset_parameters(self) -> None:
        """The layer anew, and the matrix as it begins."""
        self.conv.reset_parameters()  # type: ignore[operator]
        nn.init.constant_(self.deletion, 1e-3)

    def __getattr__(self, name: str) -> Any:
        """What else is asked, the layer knows: networks ask theirs for sizes."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("conv"), name)


def message_layers(network: nn.Module) -> tuple[str, ...]:
    """Names of the layers that pass messages, in order; those behind a `DeletionLayer` count as that.

    Raises:
        MismatchError: There is none.
    """
    from torch_geometric.nn import MessagePassing

    wrapped = [name for name, part in network.named_modules() if isinstance(part, DeletionLayer)]
    names = [
        name
        for name, part in network.named_modules()
        if isinstance(part, MessagePassing | DeletionLayer) and not any(name.startswith(f"{one}.") for one in wrapped)
    ]
    if not names:
        raise MismatchError(
            f"{type(network).__name__} has no layer that passes messages (torch_geometric.nn.MessagePassing): it does "
            "not see the graph"
        )
    return tuple(names)


def replace_layer(network: nn.Module, name: str, make: Callable[[nn.Module], nn.Module]) -> None:
    """Put ``make(layer)`` in a layer's place.

    Raises:
        MismatchError: The layer is the network itself, which has no place to be put into.
    """
    if not name:
        raise MismatchError("the network is a single layer: put it into a torch.nn.Module with a forward of its own")
    parent, _, key = name.rpartition(".")
    setattr(network.get_submodule(parent), key, make(network.get_submodule(name)))


def watched(network: nn.Module, names: Sequence[str], forward: Callable[[], Tensor]) -> tuple[Tensor, list[Tensor]]:
    """What `forward` returns, and the outputs of some layers on the way."""
    seen: dict[str, Tensor] = {}

    def note(name: str) -> Callable[..., None]:
        return lambda part, inputs, output: seen.update({name: output})

    handles = [network.get_submodule(name).register_forward_hook(note(name)) for name in names]
    try:
        outputs = forward()
    finally:
        for handle in handles:
            handle.remove()
    return outputs, [seen[name] for name in names]
