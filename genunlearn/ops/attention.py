"""Attention probabilities at a few keys, without the whole matrix of probabilities.

Attention with values that are unit vectors returns probabilities: ``softmax(q k^T) V`` with one column of V
for each chosen key. A fused kernel therefore gives the columns that a loss needs and never stores the others.

Source of the losses on them: Zhang et al., "Forget-Me-Not" (CVPR workshops 2024); Huang et al., Receler (ECCV
2024).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def chosen_columns(marks: Tensor) -> Tensor:
    """Unit vectors of marked keys, ``(batch, keys, most marks)``; rows with fewer marks end in zero columns.

    Args:
        marks: ``(batch, keys)`` bool.
    """
    width = int(marks.sum(1).max()) if marks.numel() else 0
    place = marks.cumsum(1) - 1
    columns = F.one_hot(place.clamp(0, max(width - 1, 0)), max(width, 1)).to(torch.float32)
    return (columns * marks.unsqueeze(-1))[..., :width]


def column_probabilities(query: Tensor, key: Tensor, marks: Tensor, scale: float) -> Tensor:
    """Attention probabilities at marked keys, ``(batch, heads, queries, most marks)``.

    Args:
        query: ``(batch, heads, queries, dim)``.
        key: ``(batch, heads, keys, dim)``.
        marks: ``(batch, keys)`` bool.
        scale: Factor of the scores, usually ``dim ** -0.5``.
    """
    values = chosen_columns(marks).to(key).unsqueeze(1).expand(-1, key.shape[1], -1, -1)
    return F.scaled_dot_product_attention(query, key, values, scale=scale)


@contextmanager
def tapped(layers: Sequence[nn.Module], marks: Tensor) -> Iterator[list[Tensor]]:
    """While the block runs, collect the probabilities of cross-attention layers at marked tokens.

    Args:
        layers: Attention modules of diffusers, in the order of their evaluation.
        marks: ``(batch, tokens)`` bool.

    Yields:
        A list that fills up: one ``(batch, heads, pixels, most marks)`` for each layer.
    """
    found: list[Tensor] = []

    def note(layer: Any, given: tuple[Tensor, ...], options: dict[str, Tensor]) -> None:
        hidden = given[0] if given else options["hidden_states"]
        text = options["encoder_hidden_states"]
        query, key = _heads(layer, layer.to_q(hidden)), _heads(layer, layer.to_k(text))
        found.append(column_probabilities(query, key, marks, layer.scale))

    handles = [layer.register_forward_pre_hook(note, with_kwargs=True) for layer in layers]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def mean_map(probabilities: Sequence[Tensor], size: int) -> Tensor:
    """Attention to the marked tokens as a picture of each example, ``(batch, size, size)``, largest value 1.

    Args:
        probabilities: ``(batch, heads, pixels, marks)`` of layers whose pixels form squares.
        size: Side of the picture; smaller layers are enlarged bilinearly.
    """
    pictures = []
    for layer in probabilities:
        side = int(layer.shape[2] ** 0.5)
        picture = layer.float().sum(-1).mean(1).view(-1, 1, side, side)
        pictures.append(F.interpolate(picture, size=(size, size), mode="bilinear", align_corners=False))
    mean = torch.cat(pictures, 1).mean(1)
    return mean / mean.amax((1, 2), keepdim=True).clamp_min(1e-12)


def _heads(layer: Any, tokens: Tensor) -> Tensor:
    """``(batch, tokens, heads * dim)`` as ``(batch, heads, tokens, dim)``."""
    return tokens.unflatten(-1, (layer.heads, -1)).transpose(1, 2)
