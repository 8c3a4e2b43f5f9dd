"""What is written of a changed pipeline: a patch in one of several forms, or the whole of it.

lora      ``NETWORK.LAYER.lora_A.weight`` and ``lora_B``, as ``pipe.load_lora_weights`` reads them, scale 1
kohya     the same as ``lora_unet_LAYER.lora_down.weight``, ``lora_up`` and ``alpha``, for other tools
delta     ``NETWORK.PARAMETER``, the changed tensors and no others
unet      ``PARAMETER``, the whole denoiser, as ``unet.load_state_dict`` takes it
guidance  the rule by which images are made, where a method has set one
pipeline  everything, in the hub's format
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from genunlearn.domains.diffusion.guidance import RULE_FILE, rule_note
from genunlearn.domains.diffusion.layers import plain_name
from genunlearn.domains.diffusion.layout import kohya_name
from genunlearn.domains.diffusion.patches import DELTA_FILE, HEADER, KOHYA_FILE, LORA_FILE, sealed
from genunlearn.domains.diffusion.pipelines import INDEX, NOT_LOADED, parts_of
from genunlearn.domains.diffusion.weights import changed_names, lora_layers, lora_of, plain_parameters
from genunlearn.errors import DataError, NeedNotMet, OutputExists
from genunlearn.records import honour_umask, replacing, write_json

KINDS = ("lora", "delta", "kohya", "unet", "guidance", "pipeline")


def export(model: Any, folder: Path, kind: str, rank: int) -> Path:
    """Write `model` in one of the forms; see `Diffusion.export`."""
    if kind not in KINDS:
        raise DataError(f"export = {kind!r}: use {', '.join(KINDS[:-1])} or {KINDS[-1]}")
    if kind == "pipeline":
        model.components()  # parts that have left memory come back
        return export_pipeline(model, folder, Path(model.source) if model.source else None)
    if kind in ("lora", "kohya"):
        return {"lora": export_lora, "kohya": export_kohya}[kind](model, folder, rank)
    return {"delta": export_delta, "unet": export_unet, "guidance": export_guidance}[kind](model, folder)


def write_patch(model: Any, path: Path, kind: str, tensors: Mapping[str, Tensor], **notes: Any) -> Path:
    """Write a patch file with its header, in which `notes` are kept as well.

    Raises:
        OutputExists: There is a file already.
    """
    if path.exists():
        raise OutputExists(f"{path} exists: give another place, or remove it")
    header = {"kind": kind, "pipeline": type(model.pipeline).__name__, **model.identity.header(), **notes}
    plain = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    # One entry alone: several are written in a random order, and the same patch would have different bytes.
    with replacing(path) as temporary:
        save_file(plain, temporary, metadata={HEADER: json.dumps(sealed(header, plain))})
    return path


def export_lora(model: Any, folder: Path, rank: int) -> Path:
    """Write the LoRA of `model` so that plain ``pipe.load_lora_weights(folder)`` opens it."""
    lora, prefix = lora_of(model, rank), model.family.network
    tensors: dict[str, Tensor] = {}
    for name, (down, up) in lora.factors.items():
        tensors[f"{prefix}.{name}.lora_A.weight"] = down.to(model.dtype)
        tensors[f"{prefix}.{name}.lora_B.weight"] = up.to(model.dtype)
    return write_patch(model, folder / LORA_FILE, "lora", tensors, residual=lora.residual)


def export_kohya(model: Any, folder: Path, rank: int) -> Path:
    """Write the LoRA of `model` by the names of kohya's scripts.

    Raises:
        NeedNotMet: The denoiser is a transformer, whose layers those scripts fuse.
    """
    if model.family.network != "unet":
        raise NeedNotMet("kohya's names are those of a UNet's layers: export a transformer as 'lora'")
    lora, config = lora_of(model, rank), model.pipeline.unet.config
    is_ldm = config.get("addition_embed_type") == "text_time"
    tensors: dict[str, Tensor] = {}
    for layer, (down, up) in lora.factors.items():
        name = kohya_name(layer, config, is_ldm=is_ldm)
        tensors[f"{name}.lora_down.weight"] = down.to(model.dtype)
        tensors[f"{name}.lora_up.weight"] = up.to(model.dtype)
        tensors[f"{name}.alpha"] = torch.tensor(float(len(down)))
    return write_patch(model, folder / KOHYA_FILE, "kohya", tensors, residual=lora.residual)


def export_delta(model: Any, folder: Path) -> Path:
    """Write the changed tensors of `model`, and no others.

    Raises:
        NeedNotMet: Nothing has changed, or a LoRA is attached.
    """
    _refuse_lora(model)
    own = plain_parameters(model.network)
    tensors = {f"{model.family.network}.{name}": own[name].detach() for name in changed_names(model)}
    if not tensors:
        raise NeedNotMet("nothing was trained or edited: there is no change to export")
    return write_patch(model, folder / DELTA_FILE, "delta", tensors)


def export_unet(model: Any, folder: Path) -> Path:
    """Write the whole denoiser of `model` by its own names.

    Raises:
        NeedNotMet: A LoRA is attached.
    """
    _refuse_lora(model)
    state = model.network.state_dict()
    tensors = {plain_name(name): weight for name, weight in state.items() if "lora_" not in name}
    return write_patch(model, folder / f"{model.family.network}.safetensors", "unet", tensors)


def export_guidance(model: Any, folder: Path) -> Path:
    """Write the rule by which `model` makes images.

    Raises:
        NeedNotMet: No rule was set.
        OutputExists: There is a file already.
    """
    path, note = folder / RULE_FILE, rule_note(model.rule, model.identity.header())
    if path.exists():
        raise OutputExists(f"{path} exists: give another place, or remove it")
    write_json(path, note)
    return path


def _refuse_lora(model: Any) -> None:
    if list(lora_layers(model.network)):
        raise NeedNotMet("this model trains a LoRA: export it as 'lora', or merge it first (Diffusion.merge)")


def export_pipeline(model: Any, folder: Path, source: Path | None) -> Path:
    """Write the whole pipeline in the hub's format, with the parts that were not loaded copied from `source`.

    Raises:
        OutputExists: `folder` holds something already.
        NeedNotMet: A LoRA is attached; merge it first.
    """
    if folder.exists() and any(folder.iterdir()):
        raise OutputExists(f"{folder} is not empty: give another place, or remove it")
    if list(lora_layers(model.network)):
        raise NeedNotMet("this model trains a LoRA: merge it before a pipeline is written (Diffusion.merge)")
    if hasattr(model.network, "unload"):
        model.module = model.network.unload()
    model.pipeline.save_pretrained(folder, safe_serialization=True)
    honour_umask(folder)
    if source is None:
        return folder
    index, original = (json.loads((place / INDEX).read_text(encoding="utf-8")) for place in (folder, source))
    for name in set(NOT_LOADED) & parts_of(source).keys():
        shutil.copytree(source / name, folder / name)
        index[name] = original[name]
    index |= {key: original[key] for key in ("requires_safety_checker",) if key in original}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return folder
