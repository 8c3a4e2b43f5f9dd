"""The parts of the lab's text-to-image pipeline: real classes of transformers and diffusers, tiny and untrained.

Weights are drawn from torch's present random state.
"""

from __future__ import annotations

import json
from typing import Any

from genunlearn.lab.diffusion.digit_prompts import vocabulary
from genunlearn.lab.diffusion.recipe import IMAGE_SIZE, Shape

END_OF_WORD = "</w>"
START, END = "<|startoftext|>", "<|endoftext|>"


def build_tokenizer(max_tokens: int) -> Any:
    """A CLIP tokenizer: every word of the lab's prompts is one token, all other text is spelled in bytes."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(end_of_word_suffix=END_OF_WORD))
    inner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace()])
    trainer = trainers.BpeTrainer(
        vocab_size=1 << 16,
        min_frequency=1,
        initial_alphabet=alphabet,
        end_of_word_suffix=END_OF_WORD,
        show_progress=False,
    )
    inner.train_from_iterator(vocabulary(), trainer)
    learnt = json.loads(inner.to_str())["model"]
    merges: Any = [tuple(merge) for merge in learnt["merges"]]
    tokens = dict.fromkeys([*alphabet, *(byte + END_OF_WORD for byte in alphabet), *learnt["vocab"], START, END])
    return CLIPTokenizer(
        vocab={token: number for number, token in enumerate(tokens)},
        merges=merges,
        model_max_length=max_tokens,
    )


def build_text_encoder(shape: Shape, tokenizer: Any) -> Any:
    """A CLIP text encoder over the tokenizer's vocabulary."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=shape.text_width,
            projection_dim=shape.text_width,
            intermediate_size=4 * shape.text_width,
            num_hidden_layers=shape.text_layers,
            num_attention_heads=max(1, shape.text_width // 32),
            max_position_embeddings=shape.max_tokens,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def build_autoencoder(shape: Shape) -> Any:
    """A variational autoencoder from 16 x 16 images to latents."""
    from diffusers import AutoencoderKL

    levels = len(shape.vae_channels)
    return AutoencoderKL(
        sample_size=IMAGE_SIZE,
        block_out_channels=shape.vae_channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=1,
        latent_channels=shape.latent_channels,
        norm_num_groups=8,
        mid_block_add_attention=False,
    )


def build_unet(shape: Shape) -> Any:
    """A denoiser with cross-attention to the prompt in its lower level and its middle."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=shape.latent_size,
        in_channels=shape.latent_channels,
        out_channels=shape.latent_channels,
        block_out_channels=shape.unet_channels,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=shape.unet_layers,
        cross_attention_dim=shape.text_width,
        attention_head_dim=shape.num_heads,
        norm_num_groups=16,
    )


def build_scheduler() -> Any:
    """The noise schedule of Stable Diffusion 1, sampled by DDIM."""
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="epsilon",
    )


def assemble(vae: Any, text_encoder: Any, tokenizer: Any, unet: Any, scheduler: Any) -> Any:
    """The parts as one ``StableDiffusionPipeline``, without a safety checker and without a progress bar."""
    from diffusers import StableDiffusionPipeline

    pipeline: Any = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
