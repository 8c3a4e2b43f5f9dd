"""Which layers and parameters of a denoiser a name like ``x`` or ``strict`` stands for."""

from __future__ import annotations

import re

from torch import nn

from genunlearn.domains.diffusion.families import Family
from genunlearn.errors import MismatchError, NeedNotMet

TRAINABLE_LAYERS = (nn.Linear, nn.Conv2d)


def select_parameters(module: nn.Module, family: Family, pattern: str) -> tuple[str, ...]:
    """Names of the parameters that a pattern stands for.

    Args:
        module: The denoiser, unwrapped.
        family: Its family.
        pattern: ``x`` for the parameters through which the prompt acts, ``strict`` for its keys and values
            alone, ``u`` for all others, ``full`` for all; of linear and convolution layers only, as
            published. Anything else is a regular expression that is searched for in the names of all
            parameters.

    Raises:
        MismatchError: Nothing is selected, or the regular expression is not one.
    """
    names = [
        f"{layer}.{name}"
        for layer, part in module.named_modules()
        if isinstance(part, TRAINABLE_LAYERS)
        for name, _ in part.named_parameters(recurse=False)
    ]
    text_side, keys_and_values = re.compile(family.text_side), re.compile(family.keys_and_values)
    if pattern in ("x", "u", "full", "strict"):
        keep = {
            "x": lambda name: bool(text_side.search(name)),
            "u": lambda name: not text_side.search(name),
            "full": lambda name: True,
            "strict": lambda name: bool(keys_and_values.search(name)),
        }[pattern]
        selected = tuple(name for name in names if keep(name))
    else:
        try:
            selected = tuple(name for name, _ in module.named_parameters() if re.search(pattern, name))
        except re.error as error:
            raise MismatchError(f"parameters = {pattern!r} is not a regular expression: {error}") from None
    if not selected:
        raise MismatchError(
            f"parameters = {pattern!r} selects nothing in {type(module).__name__}: use x, u, full, strict or "
            f"a regular expression over names such as {names[len(names) // 2]!r}"
        )
    return selected


def select_layers(module: nn.Module, family: Family, pattern: str) -> tuple[str, ...]:
    """Names of the linear and convolution layers of those parameters, which a LoRA can stand beside.

    Raises:
        MismatchError: There are none.
    """
    parts = dict(module.named_modules())
    layers = dict.fromkeys(name.rpartition(".")[0] for name in select_parameters(module, family, pattern))
    names = tuple(name for name in layers if isinstance(parts[name], TRAINABLE_LAYERS))
    if not names:
        raise MismatchError(f"parameters = {pattern!r} names no linear or convolution layer for a LoRA")
    return names


def prompt_layers(module: nn.Module, family: Family, *, values_only: bool = False) -> dict[str, nn.Linear]:
    """Linear layers that read the prompt embedding itself, by name: what edits in closed form change.

    Raises:
        NeedNotMet: `values_only` is asked of a pipeline whose prompt enters through one layer.
    """
    if values_only and not family.has_cross_attention:
        raise NeedNotMet(
            f"values only: {type(module).__name__} has no cross-attention; its prompt enters through one "
            "layer, which serves keys and values alike"
        )
    pattern = re.compile(family.values if values_only else family.reads_prompt)
    parts = ((plain_name(name), part) for name, part in module.named_modules())
    return {name: part for name, part in parts if isinstance(part, nn.Linear) and pattern.search(name)}


def plain_name(name: str) -> str:
    """The name of a layer or parameter without what a LoRA beside it puts around it."""
    return name.removeprefix("base_model.model.").replace(".base_layer", "")
