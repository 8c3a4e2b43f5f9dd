"""Files as other tools release them, made from tiny pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from genunlearn.domains.diffusion.layout import unet_blocks, unet_name, vae_name


def save(tensors: dict[str, Tensor], path: Path, **metadata: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: t.detach().clone().contiguous() for name, t in tensors.items()}, path, metadata=metadata or None)
    return path


def ldm_unet(pipeline: Any, prefix: str = "model.diffusion_model.") -> dict[str, Tensor]:
    """The UNet by its names in the original Stable Diffusion code."""
    blocks = unet_blocks(pipeline.unet.config)
    return {prefix + unet_name(name, blocks): tensor for name, tensor in pipeline.unet.state_dict().items()}


def ldm_vae(pipeline: Any) -> dict[str, Tensor]:
    """The VAE likewise, whose attention is made of 1 x 1 convolutions there."""
    found = {}
    for name, tensor in pipeline.vae.state_dict().items():
        other = vae_name(name, len(pipeline.vae.config.block_out_channels))
        is_projection = ".attn_1." in other and tensor.dim() == 2
        found[f"first_stage_model.{other}"] = tensor[..., None, None] if is_projection else tensor
    return found


def open_clip(encoder: Any, prefix: str) -> dict[str, Tensor]:
    """A text encoder as OpenCLIP names it, with queries, keys and values in one."""
    own = {name.removeprefix("text_model."): t for name, t in encoder.state_dict().items()}
    found = {
        "token_embedding.weight": own["embeddings.token_embedding.weight"],
        "positional_embedding": own["embeddings.position_embedding.weight"],
        "ln_final.weight": own["final_layer_norm.weight"],
        "ln_final.bias": own["final_layer_norm.bias"],
        "text_projection": own["text_projection.weight"].T,
        "logit_scale": torch.tensor(1.0),
    }
    names = {
        "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
        "self_attn.out_proj": "attn.out_proj",
    }  # fmt: skip
    for layer in range(encoder.config.num_hidden_layers):
        mine, its = f"encoder.layers.{layer}", f"transformer.resblocks.{layer}"
        for kind in ("weight", "bias"):
            for one, other in names.items():
                found[f"{its}.{other}.{kind}"] = own[f"{mine}.{one}.{kind}"]
            rows = [own[f"{mine}.self_attn.{which}_proj.{kind}"] for which in "qkv"]
            found[f"{its}.attn.in_proj_{kind}"] = torch.cat(rows)
    return {prefix + name: tensor for name, tensor in found.items()}


def single_file(pipeline: Any) -> dict[str, Tensor]:
    """The whole of an SD 1.x or SDXL pipeline in one file, with the tables that such files hold."""
    tables = {"alphas_cumprod": torch.ones(1000), "model_ema.decay": torch.tensor(0.9)}
    encoder = {f"text_model.{n.removeprefix('text_model.')}": t for n, t in pipeline.text_encoder.state_dict().items()}
    encoder["text_model.embeddings.position_ids"] = torch.arange(16)[None]
    if getattr(pipeline, "text_encoder_2", None) is None:
        text = {f"cond_stage_model.transformer.{name}": tensor for name, tensor in encoder.items()}
    else:
        text = {f"conditioner.embedders.0.transformer.{name}": tensor for name, tensor in encoder.items()}
        text |= open_clip(pipeline.text_encoder_2, "conditioner.embedders.1.model.")
    return {**ldm_unet(pipeline), **ldm_vae(pipeline), **text, **tables}


def kohya(name: str, down: Tensor, up: Tensor, alpha: float) -> dict[str, Tensor]:
    """A layer's LoRA by the names of kohya's scripts."""
    return {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.alpha": torch.tensor(alpha)}


def lora(pipeline: Any, layers: dict[str, list[str]], rank: int = 2) -> dict[tuple[str, str], tuple[Tensor, Tensor]]:
    """Random factors ``(down, up)`` for layers, by part and name."""
    generator = torch.Generator().manual_seed(5)
    found = {}
    for part, names in layers.items():
        for name in names:
            weight = getattr(pipeline, part).get_submodule(name).weight
            inside, out = weight[0].numel(), len(weight)
            down = torch.randn(rank, inside, generator=generator)
            found[part, name] = (down, 0.3 * torch.randn(out, rank, generator=generator))
    return found
