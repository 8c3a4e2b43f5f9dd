"""What a denoiser's cross-attention looks at when it reads the tokens of a concept."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from genunlearn.domains.diffusion_prompts import PromptEmbedding
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


def concept_attention(
    model: Any, noisy: Tensor, timesteps: Tensor, prompt: PromptEmbedding, marks: Tensor
) -> list[Tensor]:
    """Probabilities at the marked tokens, one ``(batch, heads, pixels, most marks)`` for each layer.

    Args:
        model: The adapter.
        noisy: ``(batch, channels, height, width)``.
        timesteps: ``(batch,)``.
        prompt: One row for each example.
        marks: ``(batch, tokens)`` bool, see `Diffusion.concept_tokens`.
    """
    with tapped(cross_attention_layers(model), marks) as found:
        model.predict(noisy, timesteps, prompt)
    return found


def concept_map(
    model: Any, noisy: Tensor, timesteps: Tensor, prompt: PromptEmbedding, marks: Tensor
) -> Tensor:
    """Where the concept is in the image, ``(batch, height, width)``, largest value 1; arguments as above."""
    return mean_map(concept_attention(model, noisy, timesteps, prompt, marks), model.latent_shape[-1])
