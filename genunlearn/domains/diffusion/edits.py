"""Prompt embeddings as columns for edits in closed form, and maps of them applied to layers that read them.

A text encoder that reads from left to right writes a concept into its own tokens and into every later one,
the padding included. ``all`` takes all of these; ``last`` takes the last word's token alone, as the
published code of UCE does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from genunlearn.contracts import EditReport
from genunlearn.domains.diffusion.prompts import Section
from genunlearn.errors import DataError
from genunlearn.ops.linear_edits import InputMap

Tokens = Literal["all", "last"]


def concept_columns(model: Any, prompts: Sequence[Any], tokens: Tokens = "all") -> tuple[Tensor, Tensor]:
    """Embeddings of the tokens that carry a concept, and of those that are to stand in for them.

    The concept's tokens meet the anchor's in order, its last one as often as needed; what follows the
    concept meets what follows the anchor. The empty anchor has no token: the end of the empty prompt stands
    in for it, and its start where `tokens` is ``last``.

    Args:
        model: The adapter.
        prompts: `ConceptPrompt` items with their anchors.
        tokens: Which tokens carry the concept.

    Returns:
        Sources and targets, ``(n, dim)`` each, float32 on the CPU, where edits are solved in float64.

    Raises:
        DataError: There is no prompt.
    """
    if not prompts:
        raise DataError("nothing to forget: the list of concepts is empty")
    sources, targets = [], []
    for item in prompts:
        source, target = (_tokens(model, text) for text in (item.prompt, item.anchor))
        spans = model.prompts.spans(item.prompt, item.concept)
        anchors = model.prompts.spans(item.anchor, item.anchor_concept)
        for (section, *span), (_, *anchor) in zip(spans, anchors, strict=True):
            for i, j in _aligned(section, span, anchor, tokens):
                sources.append(source[section.start + i])
                targets.append(target[section.start + j])
    return torch.stack(sources), torch.stack(targets)


def preserved_columns(model: Any, prompts: Sequence[Any] | None, tokens: Tokens = "all") -> Tensor:
    """Embeddings of the tokens of prompts that are to stay, ``(m, dim)``; with ``last`` of one word each."""
    rows = []
    for item in prompts or ():
        embedded = _tokens(model, item.prompt)
        if tokens == "all":
            rows.append(embedded)
            continue
        for section, _, last in model.prompts.spans(item.prompt, item.concept):
            rows.append(embedded[section.start + last - 1 : section.start + last])
    return torch.cat(rows) if rows else torch.zeros(0, _tokens(model, "").shape[-1])


def apply_map(model: Any, edit: InputMap, *, values_only: bool = False, **details: Any) -> EditReport:
    """Apply a map of the prompt embedding to every layer that reads it.

    Args:
        model: The adapter.
        edit: The map.
        values_only: Leave keys as they are.
        details: What the report is to say besides.

    Returns:
        The names of the changed weights, the rank of the change and its size, ``max |W' - W| / |W|`` over
        layers.
    """
    small = edit.compressed()
    layers = model.prompt_layers(values_only=values_only)
    changes = {name: small.change_of(layer.weight) for name, layer in layers.items()}
    sizes = [float(c.delta().norm() / layers[name].weight.detach().float().norm()) for name, c in changes.items()]
    changed = model.apply_low_rank(changes)
    return EditReport(changed=changed, details={"rank": len(small.right), "size": max(sizes), **details})


def _tokens(model: Any, prompt: str) -> Tensor:
    return model.encode_prompts([prompt]).tokens[0].float().cpu()


def _aligned(section: Section, span: Sequence[int], anchor: Sequence[int], tokens: Tokens) -> Iterator[tuple[int, int]]:
    """Pairs of positions in the concept's prompt and the anchor's, from the start of the section."""
    (first, last), (anchor_first, anchor_last) = span, anchor
    if tokens == "last":
        yield last - 1, max(anchor_last - 1, 0)
        return
    end = section.length - 1
    for i in range(first, last):
        stands_in = min(anchor_first + i - first, max(anchor_last - 1, anchor_first))
        yield i, min(stands_in, end)
    for i in range(last, section.length):
        yield i, min(anchor_last + i - last, end)
