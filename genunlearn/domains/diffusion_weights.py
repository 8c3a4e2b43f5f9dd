"""Changed weights of a denoiser: added, told apart by a fingerprint, exported and put back.

A patch is one safetensors file whose header says which base it was made for:

    lora    ``NETWORK.LAYER.lora_A.weight`` and ``lora_B``, as ``pipe.load_lora_weights`` reads them, scale 1
    delta   ``NETWORK.PARAMETER``, the changed tensors and no others
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from genunlearn.errors import DataError, MismatchError, NeedNotMet, OutputExists, SourceNotFound
from genunlearn.ops.linear_edits import LowRank

HEADER = "genunlearn"
LORA_FILE = "pytorch_lora_weights.safetensors"
"""The name under which diffusers looks for a LoRA in a folder."""
DELTA_FILE = "delta.safetensors"
SAMPLED = 128
"""Values of a fingerprint that are kept in a patch."""


@dataclass(frozen=True)
class Fingerprint:
    """A few values of every weight tensor, evenly spaced.

    Attributes:
        values: ``(samples,)`` float32, in the order of the parameters; LoRA weights do not count.
    """

    values: Tensor

    @classmethod
    def of(cls, module: nn.Module) -> Fingerprint:
        """Sample four values of each tensor."""
        kept = [p.detach().flatten() for name, p in module.named_parameters() if "lora_" not in name]
        picks = [t[:: max(1, (t.numel() - 1) // 3)][:4].float() for t in kept if t.numel()]
        return cls(torch.cat(picks).cpu())

    @property
    def sha256(self) -> str:
        """Hash of the values."""
        return hashlib.sha256(self.values.numpy().tobytes()).hexdigest()

    def brief(self) -> list[float]:
        """Some of the values, for the header of a patch."""
        step = max(1, len(self.values) // SAMPLED)
        return [float(f"{value:.6g}") for value in self.values[::step][:SAMPLED].tolist()]

    def matches(self, brief: list[float]) -> bool:
        """Whether a header's values are these, up to rounding to half precision."""
        own = self.brief()
        return len(own) == len(brief) and bool(
            torch.allclose(torch.tensor(own), torch.tensor(brief), rtol=1e-2, atol=1e-4)
        )


@torch.no_grad()
def add_low_rank(network: nn.Module, changes: Mapping[str, LowRank]) -> None:
    """Add changes to the weights of layers, by layer name, in place."""
    for name, change in changes.items():
        weight = network.get_parameter(f"{name}.weight")
        weight.copy_(weight.float() + change.delta().to(weight.device))


def changed_parameters(network: nn.Module, low_rank: Mapping[str, LowRank]) -> dict[str, Tensor]:
    """Tensors that training or edits may have changed, by parameter name."""
    if list(_lora_layers(network)):
        raise NeedNotMet("this model trains a LoRA: export it as 'lora', or merge it first for 'delta'")
    edited = {f"{name}.weight" for name in low_rank}
    named = network.named_parameters()
    return {name: p.detach() for name, p in named if p.requires_grad or name in edited}


def lora_factors(network: nn.Module, low_rank: Mapping[str, LowRank]) -> dict[str, tuple[Tensor, Tensor]]:
    """Factors ``(down, up)`` with their scale folded in, by layer: of an attached LoRA, else of edits.

    Raises:
        NeedNotMet: The weights themselves were trained, which is no change of low rank.
    """
    attached = dict(_lora_layers(network))
    if attached:
        return attached
    trained = [name for name, p in network.named_parameters() if p.requires_grad]
    if trained or not low_rank:
        raise NeedNotMet(
            "a LoRA file needs a change of low rank: train a LoRA (parameters.kind = 'lora'), or export "
            "these weights as 'delta' or 'pipeline'"
        )
    return {name: (change.down, change.up) for name, change in low_rank.items()}


def _lora_layers(network: nn.Module) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    for name, layer in network.named_modules():
        downs: Any = getattr(layer, "lora_A", None)
        ups: Any = getattr(layer, "lora_B", None)
        scaling: Any = getattr(layer, "scaling", None)
        if not isinstance(downs, nn.ModuleDict) or not downs:
            continue
        adapter = next(iter(downs))
        down, up = downs[adapter].get_parameter("weight"), ups[adapter].get_parameter("weight")
        yield name.removeprefix("base_model.model."), (down.detach(), scaling[adapter] * up.detach())


def read_lora(path: Path, network: str) -> dict[str, LowRank]:
    """The changes that a LoRA file makes to linear layers, by layer.

    Args:
        path: A file as `export_lora` writes it, or its folder.
        network: Name of the denoiser among the pipeline's components.

    Raises:
        SourceNotFound: There is no file.
        MismatchError: It holds other layers or none.
    """
    tensors = load_file(patch_file(path))
    layers = {name.removesuffix(".lora_A.weight") for name in tensors if name.endswith(".lora_A.weight")}
    foreign = [name for name in layers if not name.startswith(f"{network}.")]
    if foreign or not layers or 2 * len(layers) != len(tensors):
        raise MismatchError(f"{path}: not a LoRA of a {network} as this package writes it (export = 'lora')")
    return {
        name.removeprefix(f"{network}."): LowRank(
            tensors[f"{name}.lora_B.weight"].float(), tensors[f"{name}.lora_A.weight"].float()
        )
        for name in sorted(layers)
    }


def write_patch(
    path: Path, kind: str, tensors: Mapping[str, Tensor], base: Fingerprint, pipeline: str
) -> Path:
    """Write a patch file; an existing one is refused.

    Raises:
        OutputExists: There is a file already.
    """
    if path.exists():
        raise OutputExists(f"{path} exists: give another place, or remove it")
    header = {"kind": kind, "pipeline": pipeline, "base": base.brief()}
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    save_file(plain, path, metadata={"format": "pt", HEADER: json.dumps(header)})
    return path


def export_lora(model: Any, folder: Path) -> Path:
    """Write the LoRA of `model` so that plain ``pipe.load_lora_weights(folder)`` opens it."""
    prefix = model.family.network
    tensors: dict[str, Tensor] = {}
    for name, (down, up) in lora_factors(model.network, model.low_rank).items():
        tensors[f"{prefix}.{name}.lora_A.weight"] = down.to(model.dtype)
        tensors[f"{prefix}.{name}.lora_B.weight"] = up.to(model.dtype)
    return write_patch(folder / LORA_FILE, "lora", tensors, model.base, type(model.pipeline).__name__)


def export_delta(model: Any, folder: Path) -> Path:
    """Write the changed tensors of `model`, and no others."""
    changed = changed_parameters(model.network, model.low_rank)
    if not changed:
        raise NeedNotMet("nothing was trained or edited: there is no change to export")
    tensors = {f"{model.family.network}.{name}": tensor for name, tensor in changed.items()}
    return write_patch(folder / DELTA_FILE, "delta", tensors, model.base, type(model.pipeline).__name__)


def patch_file(source: Path) -> Path:
    """The patch in a folder, or the file itself.

    Raises:
        SourceNotFound: There is none.
    """
    candidates = [source] if source.is_file() else [source / LORA_FILE, source / DELTA_FILE]
    for path in candidates:
        if path.is_file():
            return path
    raise SourceNotFound(f"no patch at {source}: a patch is a folder with {LORA_FILE} or {DELTA_FILE}")


def apply_patch(model: Any, source: Path) -> str:
    """Put a patch on `model` in place, merged into its weights; returns its kind.

    Raises:
        SourceNotFound: There is no patch at `source`.
        DataError: The file is not a patch.
        MismatchError: It was made for other weights or another kind of pipeline.
    """
    path = patch_file(source)
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {}).get(HEADER, "null"))
            names = list(file.keys())
    except Exception as error:  # safetensors raises its own kind for a damaged header
        raise DataError(f"{path}: not a safetensors file, or a damaged one: {error}") from error
    if header is None:
        header = {"kind": "lora", "pipeline": "", "base": None}
    _check_base(model, path, header)
    if header["kind"] == "delta":
        _load_delta(model, path, names)
    else:
        model.pipeline.load_lora_weights(path.parent, weight_name=path.name)
        model.pipeline.fuse_lora()
        model.pipeline.unload_lora_weights()
    return header["kind"]


def _check_base(model: Any, path: Path, header: Mapping[str, Any]) -> None:
    own = type(model.pipeline).__name__
    if header["pipeline"] and header["pipeline"] != own:
        raise MismatchError(f"{path}: made for a {header['pipeline']}, but this model is a {own}")
    if header["base"] is not None and not model.base.matches(header["base"]):
        raise MismatchError(
            f"{path}: made for other base weights: load the model that the patch's record names"
        )


@torch.no_grad()
def _load_delta(model: Any, path: Path, names: list[str]) -> None:
    own = dict(model.network.named_parameters())
    with safe_open(path, "pt") as file:
        for name in names:
            tensor, short = file.get_tensor(name), name.removeprefix(f"{model.family.network}.")
            if short not in own or own[short].shape != tensor.shape:
                raise MismatchError(f"{path}: tensor {name!r} does not fit this model")
            own[short].copy_(tensor)


def export_pipeline(model: Any, folder: Path, source: Path | None) -> Path:
    """Write the whole pipeline in the hub's format, with the parts that were not loaded copied from `source`.

    Raises:
        OutputExists: `folder` holds something already.
        NeedNotMet: A LoRA is attached; merge it first.
    """
    from genunlearn.domains.diffusion_pipelines import INDEX, NOT_LOADED, parts_of

    if folder.exists() and any(folder.iterdir()):
        raise OutputExists(f"{folder} is not empty: give another place, or remove it")
    if list(_lora_layers(model.network)):
        raise NeedNotMet("this model trains a LoRA: merge it before a whole pipeline is written")
    model.pipeline.save_pretrained(folder, safe_serialization=True)
    if source is None:
        return folder
    index, original = (json.loads((place / INDEX).read_text(encoding="utf-8")) for place in (folder, source))
    for name in set(NOT_LOADED) & parts_of(source).keys():
        shutil.copytree(source / name, folder / name)
        index[name] = original[name]
    index |= {key: original[key] for key in ("requires_safety_checker",) if key in original}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return folder
