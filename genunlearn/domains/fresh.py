"""Starting a network over: fresh weights for any module."""

from __future__ import annotations

from torch import nn

from genunlearn.errors import MismatchError


def reset_weights(module: nn.Module) -> None:
    """Draw all weights of `module` anew, each part by its own rule, in place.

    Raises:
        MismatchError: A part holds weights of its own and has no rule (``reset_parameters``).
    """
    for name, part in module.named_modules():
        reset = getattr(part, "reset_parameters", None) or getattr(part, "_reset_parameters", None)
        if callable(reset):
            reset()
        elif next(part.parameters(recurse=False), None) is not None:
            raise MismatchError(
                f"{type(part).__name__} {name or '(the network itself)'!r} holds weights that it cannot draw anew: "
                "give it a reset_parameters method, or give build=, a function that makes an untrained network"
            )
