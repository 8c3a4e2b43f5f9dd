"""What a denoiser's cross-attention looks at when it reads the tokens of a concept."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from genunlearn.contracts import Examples
from genunlearn.errors import NeedNotMet
from genunlearn.ops.attention import mean_map, tapped


def cross_attention_layers(model: Any) -> list[nn.Module]:
    """Cross-attention modules of the denoiser.

    Raises:
        NeedNotMet: The pipeline has none.
    """
    if not model.family.has_cross_attention:
        raise NeedNotMet(
            f"{type(model.pipeline).__name__} has joint attention instead of cross-attention, and so no "
            "probabilities of pixels over prompt tokens alone: take a method that compares predictions"
        )
    return [part for name, part in model.network.named_modules() if name.endswith(".attn2")]


def concept_tokens(model: Any, examples: Examples, *, and_later: bool = False) -> Tensor:
    """Where the tokens of each example's concept are in its prompt, ``(batch, tokens)`` bool.

    Args:
        model: The adapter.
        examples: With ``prompt`` and ``concept``.
        and_later: Mark the tokens after the concept too, into which the text encoder has written it.
    """
    texts = model.prompts.texts
    marks = torch.zeros(model.embedding(examples).tokens.shape[:2], dtype=torch.bool)
    numbers = zip(examples["prompt"].tolist(), examples["concept"].tolist(), strict=True)
    for row, (prompt, concept) in enumerate(numbers):
        for section, first, last in model.prompts.spans(texts[prompt], texts[concept]):
            end = section.length if and_later else last
            marks[row, section.start + first : section.start + end] = True
    return marks.to(model.device)


def concept_attention(
    model: Any, examples: Examples, noisy: Tensor, timesteps: Tensor, *, and_later: bool = False
) -> list[Tensor]:
    """Probabilities at the concept's tokens, one ``(batch, heads, pixels, tokens)`` for each layer.

    Args:
        model: The adapter.
        examples: With ``prompt`` and ``concept``.
        noisy: ``(batch, channels, height, width)``.
        timesteps: ``(batch,)``.
        and_later: See `concept_tokens`.
    """
    marks = concept_tokens(model, examples, and_later=and_later)
    with tapped(cross_attention_layers(model), marks) as found:
        model.predict(noisy, timesteps, model.embedding(examples))
    return found


def concept_map(model: Any, examples: Examples) -> Tensor:
    """Where the concept is in ``noisy`` latents, ``(batch, height, width)``, the largest value being 1."""
    layers = concept_attention(model, examples, examples["noisy"], examples["timesteps"])
    return mean_map(layers, model.latent_shape[-1])
