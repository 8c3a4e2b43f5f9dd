"""Causal attention of texts that stand in one row, each to itself and to what it shares with others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

ATTENTION = "genunlearn_packed"
"""Name of `attend` in transformers' table."""


@dataclass(frozen=True)
class Layout:
    """Where consecutive tokens of a row lie among padded rows.

    Attributes:
        slots: ``(tokens,)``, place of each among ``rows * width``.
        rows: Number of texts, or of parts of them.
        width: Tokens of the longest.
    """

    slots: Tensor
    rows: int
    width: int


@dataclass(frozen=True)
class Beginnings:
    """What texts begin with, once each, at the start of the row.

    Attributes:
        layout: Of their tokens.
        owners: ``(texts,)``, the number of each text's beginning.
        lengths: ``(texts,)``, tokens of it.
    """

    layout: Layout
    owners: Tensor
    lengths: Tensor

    def visible(self, width: int) -> Tensor:
        """What each token of `width` behind a beginning may attend to: it, and those between.

        Returns:
            ``(texts, 1, width, longest beginning + width)`` bool.
        """
        device = self.lengths.device
        before = torch.arange(self.layout.width, device=device) < self.lengths[:, None]
        own = torch.ones(width, width, dtype=torch.bool, device=device).tril()
        rows = len(self.lengths)
        return torch.cat([before[:, None].expand(-1, width, -1), own.expand(rows, -1, -1)], -1)[:, None]


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packing: Any,
    **options: Any,
) -> tuple[Tensor, None]:
    """Causal attention of each text of a packed row to itself, as transformers asks for it.

    Args:
        module: The attention layer.
        query: ``(1, heads, tokens, width)``.
        key: The same, perhaps of fewer heads.
        value: As `key`.
        attention_mask: Not looked at.
        packing: Which tokens belong together, a `genunlearn.domains.lm.packing.Packing`.
        options: ``dropout`` of attention weights, ``scaling`` of the products, and what else a family asks for.

    Returns:
        ``(1, tokens, heads, width)``.

    Raises:
        ValueError: A family asks for something else than plain attention.
    """
    if any(options.get(name) is not None for name in ("softcap", "s_aux", "sliding_window", "position_bias")):
        raise ValueError("packed rows have plain attention only")
    states, begun = (query, key, value), packing.beginnings
    how = {"dropout": options.get("dropout", 0.0), "scale": options.get("scaling")}
    if begun is None:
        return _repacked(_attention(*_unpacked(states, packing.texts), **how), packing.texts)[None], None
    count = len(begun.layout.slots)
    first = _unpacked([each[:, :, :count] for each in states], begun.layout)
    own = _unpacked([each[:, :, count:] for each in states], packing.texts)
    keys, values = (torch.cat([f.index_select(0, begun.owners), o], 2) for f, o in zip(first[1:], own[1:], strict=True))
    outputs = _attention(*first, **how), _attention(own[0], keys, values, packing.visible, **how)
    layouts = begun.layout, packing.texts
    return torch.cat([_repacked(each, layout) for each, layout in zip(outputs, layouts, strict=True)])[None], None


def _attention(
    query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None = None, *, dropout: float, scale: float | None
) -> Tensor:
    """Attention in padded rows; causal where nobody says what is `visible`."""
    if query.requires_grad and query.device.type == "cpu" and query.dtype == torch.bfloat16 and not dropout:
        return _by_products(query, key, value, visible, scale)
    output = scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=visible,
        dropout_p=dropout,
        scale=scale,
        is_causal=visible is None,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    _differentiate_strictly(output)
    return output


def _by_products(query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None, scale: float | None) -> Tensor:
    """The same by plain products: the CPU's fused gradient multiplies bfloat16 several times more slowly."""
    causal = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool).tril()
    mask = causal if visible is None else visible[:, None]
    grouped = query.unflatten(1, (key.shape[1], -1)) * (query.shape[-1] ** -0.5 if scale is None else scale)
    products = (grouped @ key[:, :, None].transpose(-1, -2)).float()
    weights = products.masked_fill(~mask, -torch.inf).softmax(-1).to(value.dtype)
    return (weights @ value[:, :, None]).flatten(1, 2)


def _differentiate_strictly(output: Tensor) -> None:
    """Let the gradient of attention be computed deterministically where that is asked for.

    Asked with ``warn_only``, torch takes the other algorithm though it has one: the deterministic one is taken where
    the lack of one would be an error.
    """
    node = output.grad_fn
    if node is None or not torch.is_deterministic_algorithms_warn_only_enabled():
        return
    node.register_prehook(lambda _: torch.use_deterministic_algorithms(True, warn_only=False))
    node.register_hook(lambda *_: torch.use_deterministic_algorithms(True, warn_only=True))


def _unpacked(states: Any, layout: Layout) -> list[Tensor]:
    """Each ``(1, heads, tokens, width)`` as ``(rows, heads, width of a row, width)``, zeros on the right."""
    found = []
    for each in states:
        tokens = each[0].transpose(0, 1)
        padded = tokens.new_zeros(layout.rows * layout.width, *tokens.shape[1:]).index_copy(0, layout.slots, tokens)
        found.append(padded.unflatten(0, (layout.rows, layout.width)).transpose(1, 2))
    return found


def _repacked(output: Tensor, layout: Layout) -> Tensor:
    """``(rows, heads, width of a row, width)`` as ``(tokens, heads, width)``, without padding."""
    return output.transpose(1, 2).flatten(0, 1).index_select(0, layout.slots)


@contextmanager
def attending(network: Any) -> Iterator[None]:
    """Within the block, the network's attention is `attend`."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, attend)
    config = network.config
    before = config._attn_implementation
    config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        config._attn_implementation = before
