"""Tiny text-to-image pipelines with random weights: real classes of every family, made here without the hub.

Their tokenizers know `WORDS` as whole tokens and spell everything else letter by letter. Images are 16 x
16, latents 8 x 8 with four channels, and one network evaluation takes a few milliseconds.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

WORDS = [
    *("a", "an", "the", "of", "in", "by", "photo", "image", "picture", "painting", "style"),
    *("red", "blue", "green", "inverted", "digit", "letter", "seven", "three", "zero"),
    *("van", "gogh", "art", "cat", "dog", "church"),
]
MAX_TOKENS = 16
HIDDEN = 32


def clip_tokenizer() -> CLIPTokenizer:
    """A real CLIP tokenizer: ``<|startoftext|>``, lower-case words, ``<|endoftext|>`` also as padding."""
    letters = string.ascii_lowercase + string.digits + string.punctuation
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges: list[tuple[str, str]] = []
    for word in sorted(WORDS, key=len, reverse=True):  # the pairs of short words would break up long ones
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            pair = (parts[0], parts[1])
            if pair not in merges:
                merges.append(pair)
            parts[:2] = ["".join(pair)]
            tokens += [parts[0]] if parts[0] not in tokens else []
    vocabulary = {token: i for i, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=MAX_TOKENS)


def t5_tokenizer() -> T5TokenizerFast:
    """A real T5 tokenizer: words with a leading mark, ``</s>`` at the end, ``<pad>`` after it."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    letters = [(letter, -9.0) for letter in string.ascii_letters + string.digits + string.punctuation]
    vocabulary = [*special, *letters, *((f"▁{word}", -4.0) for word in WORDS)]
    return T5TokenizerFast(vocab=vocabulary, extra_ids=0, model_max_length=MAX_TOKENS)


def _clip_config(tokenizer: CLIPTokenizer, **changes: Any) -> CLIPTextConfig:
    settings = {
        "vocab_size": len(tokenizer),
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN,
        "projection_dim": HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": MAX_TOKENS,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return CLIPTextConfig(**{**settings, **changes})


def _t5(tokenizer: T5TokenizerFast, width: int) -> T5EncoderModel:
    config = T5Config(
        vocab_size=len(tokenizer), d_model=width, d_ff=2 * width, d_kv=width // 2, num_layers=1, num_heads=2
    )
    return T5EncoderModel(config)


def _vae(**changes: Any) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        layers_per_block=1,
        sample_size=16,
        **changes,
    )


def _unet(**changes: Any) -> UNet2DConditionModel:
    settings: dict[str, Any] = {
        "sample_size": 8,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": HIDDEN,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
    }
    return UNet2DConditionModel(**{**settings, **changes})


def stable_diffusion(prediction: str = "epsilon") -> StableDiffusionPipeline:
    """SD 1.x; with ``v_prediction`` SD 2.x, which projects linearly and has heads of fixed width."""
    tokenizer = clip_tokenizer()
    is_second = prediction == "v_prediction"
    changes = {"use_linear_projection": True, "attention_head_dim": (2, 4)} if is_second else {}
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    return StableDiffusionPipeline(
        vae=_vae(),
        text_encoder=CLIPTextModel(_clip_config(tokenizer)),
        tokenizer=tokenizer,
        unet=_unet(**changes),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def stable_diffusion_xl() -> StableDiffusionXLPipeline:
    """SDXL: two text encoders side by side, pooled text and image sizes beside the timestep."""
    tokenizer = clip_tokenizer()
    unet = _unet(
        cross_attention_dim=2 * HIDDEN,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=6 * 4 + HIDDEN,
    )
    return StableDiffusionXLPipeline(
        vae=_vae(),
        text_encoder=CLIPTextModel(_clip_config(tokenizer)),
        text_encoder_2=CLIPTextModelWithProjection(_clip_config(tokenizer)),
        tokenizer=tokenizer,
        tokenizer_2=clip_tokenizer(),
        unet=unet,
        scheduler=stable_diffusion().scheduler,
    )


def stable_diffusion_3() -> StableDiffusion3Pipeline:
    """SD3: three text encoders, joint attention, a shifted flow."""
    tokenizer, t5 = clip_tokenizer(), t5_tokenizer()
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=2 * HIDDEN,
        caption_projection_dim=16,
        pooled_projection_dim=2 * HIDDEN,
        pos_embed_max_size=8,
    )
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_vae(shift_factor=0.1, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=CLIPTextModelWithProjection(_clip_config(tokenizer)),
        tokenizer=tokenizer,
        text_encoder_2=CLIPTextModelWithProjection(_clip_config(tokenizer)),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=_t5(t5, 2 * HIDDEN),
        tokenizer_3=t5,
    )


def flux(guidance_embeds: bool = False) -> FluxPipeline:
    """FLUX: packed latents, joint and single blocks; ``dev`` takes the guidance scale as an input."""
    tokenizer, t5 = clip_tokenizer(), t5_tokenizer()
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=2 * HIDDEN,
        pooled_projection_dim=HIDDEN,
        axes_dims_rope=(2, 2, 4),
        guidance_embeds=guidance_embeds,
    )
    pipeline = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=_vae(shift_factor=0.1, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=CLIPTextModel(_clip_config(tokenizer)),
        tokenizer=tokenizer,
        text_encoder_2=_t5(t5, 2 * HIDDEN),
        tokenizer_2=t5,
        transformer=transformer,
    )
    pipeline.default_sample_size = 8
    return pipeline


FAMILIES: dict[str, Callable[[], Any]] = {
    "sd1": stable_diffusion,
    "sd2": lambda: stable_diffusion("v_prediction"),
    "sdxl": stable_diffusion_xl,
    "sd3": stable_diffusion_3,
    "flux": flux,
}
VARIANTS = {**FAMILIES, "flux_dev": lambda: flux(guidance_embeds=True)}


def tiny(family: str, seed: int = 0) -> Any:
    """A pipeline of `VARIANTS` whose random weights are a function of `seed`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        pipeline = VARIANTS[family]()
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval().requires_grad_(False)
    _spread(pipeline)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _spread(pipeline: Any) -> None:
    """Make the network listen to its prompt: default weights are so small that all prompts look alike."""
    network = getattr(pipeline, "unet", None) or pipeline.transformer
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.05)
    for name in ("text_encoder", "text_encoder_2", "text_encoder_3"):
        if (encoder := getattr(pipeline, name, None)) is not None:
            for parameter in encoder.parameters():
                if parameter.dim() > 1:
                    parameter.mul_(8)
