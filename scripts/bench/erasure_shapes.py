"""Erasures on networks of the shapes of Stable Diffusion 1.5 and SDXL with random weights; needs CUDA."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from markdown_blocks import table
from transformers import AutoTokenizer, CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from genunlearn.config import ParametersConfig, TrainConfig
from genunlearn.contracts import Splits
from genunlearn.data.diffusion.concepts import forget_prompts, parse_concepts, preserve_prompts
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.engine.trainer import Trainer
from genunlearn.lab.diffusion.build import build
from genunlearn.methods.diffusion.esd import ESD
from genunlearn.methods.diffusion.uce import UCE

TEXT: dict[str, Any] = {"vocab_size": 49408, "max_position_embeddings": 77}
VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
}


def tokenizer() -> Any:
    """The lab's tokenizer: which words there are does not matter for time and memory."""
    return AutoTokenizer.from_pretrained(Path(build()) / "tokenizer", model_max_length=77)


def scheduler() -> DDIMScheduler:
    """The noise levels of Stable Diffusion."""
    return DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")


def sd15(device: str = "cuda") -> StableDiffusionPipeline:
    """Stable Diffusion 1.5's shapes, with weights drawn on `device`."""
    text = CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, **TEXT)
    with torch.device(device):
        parts: dict[str, Any] = {
            "vae": AutoencoderKL(**VAE),
            "text_encoder": CLIPTextModel(text),
            "unet": UNet2DConditionModel(sample_size=64, cross_attention_dim=768),
        }
    return StableDiffusionPipeline(
        **parts,
        tokenizer=tokenizer(),
        scheduler=scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sdxl(device: str = "cuda") -> StableDiffusionXLPipeline:
    """SDXL's shapes, with weights drawn on `device`."""
    small = CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, **TEXT
    )
    large = CLIPTextConfig(
        hidden_size=1280,
        intermediate_size=5120,
        num_hidden_layers=32,
        num_attention_heads=20,
        projection_dim=1280,
        **TEXT,
    )
    unet: dict[str, Any] = {
        "sample_size": 128,
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    }
    with torch.device(device):
        parts: dict[str, Any] = {
            "vae": AutoencoderKL(**VAE),
            "text_encoder": CLIPTextModel(small),
            "text_encoder_2": CLIPTextModelWithProjection(large),
            "unet": UNet2DConditionModel(**unet),
        }
    return StableDiffusionXLPipeline(
        **parts,
        tokenizer=tokenizer(),
        tokenizer_2=tokenizer(),
        scheduler=scheduler(),
    )


def on_cuda() -> str:
    """Seconds and peak memory of UCE and of 20 steps of ESD-x, as a Markdown table."""
    rows = []
    for name, make in (("Stable Diffusion 1.5", sd15), ("SDXL", sdxl)):
        for method in ("UCE", "ESD-x, 20 steps of one image"):
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            pipeline: Any = make()
            model = Diffusion(pipeline.to("cuda", torch.bfloat16))
            start = time.perf_counter()
            erase(model, method)
            torch.cuda.synchronize()
            seconds, peak = time.perf_counter() - start, torch.cuda.max_memory_allocated() / 2**30
            rows.append([name, method, f"{seconds:.2f} s", f"{peak:.1f} GiB"])
            del model
    return table(["shapes, random weights", "work", "time", "peak memory"], rows)


def erase(model: Diffusion, method: str) -> None:
    """One erasure of one concept."""
    erasure = parse_concepts(["digit seven -> digit"], ["digit one", "digit two"], ["a {}"])
    splits: Splits[Any] = Splits(forget=forget_prompts(erasure), retain=preserve_prompts(erasure))
    if method == "UCE":
        UCE().apply(model, splits)
        return
    train = TrainConfig(learning_rate=5e-5, batch_size=1, max_steps=20, save_every=20)
    trainer = Trainer(model, train, ParametersConfig(kind="full", target_modules="x"), seed=0)
    esd = ESD(trajectories=1, steps=20)
    trainer(esd, esd.prepare(splits, 0))
