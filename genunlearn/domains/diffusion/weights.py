"""Changed weights of a denoiser: added, told apart by a fingerprint, exported and put back.

A patch is one safetensors file whose header says which base it was made for:

    lora    ``NETWORK.LAYER.lora_A.weight`` and ``lora_B``, as ``pipe.load_lora_weights`` reads them, scale 1
    delta   ``NETWORK.PARAMETER``, the changed tensors and no others
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from genunlearn.domains.diffusion.layers import plain_name
from genunlearn.domains.sources import weight_files
from genunlearn.errors import DataError, MismatchError, NeedNotMet, OutputExists, SourceNotFound
from genunlearn.ops.linear_edits import LowRank
from genunlearn.records import honour_umask, replacing

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
    own = plain_parameters(network)
    for name, change in changes.items():
        weight = own[f"{name}.weight"]
        weight.copy_(weight.float() + change.delta().to(weight.device))


def plain_parameters(network: nn.Module) -> dict[str, nn.Parameter]:
    """The denoiser's own parameters by the names that they have without a LoRA."""
    return {plain_name(name): p for name, p in network.named_parameters() if "lora_" not in name}


def merged_weights(model: Any) -> dict[str, Tensor]:
    """The weights of layers that read the prompt, ``(out, d)`` each, with an attached LoRA folded in."""
    attached = dict(_lora_layers(model.network))
    found = {}
    for name, layer in model.prompt_layers().items():
        found[name] = layer.weight.detach()
        if name in attached:
            down, up = attached[name]
            found[name] = found[name] + up @ down
    return found


def changed_names(model: Any) -> tuple[str, ...]:
    """Parameters that training, edits or merged LoRAs may have changed."""
    changed = {*model.merged, *(f"{name}.weight" for name in model.low_rank)}
    named = plain_parameters(model.network).items()
    return tuple(name for name, p in named if p.requires_grad or name in changed)


def merge_lora(model: Any) -> None:
    """Fold the attached LoRA of `model` into its weights."""
    factors = dict(_lora_layers(model.network))
    if not hasattr(model.network, "merge_and_unload"):
        raise NeedNotMet("this model trains no LoRA: there is nothing to merge")
    model.module = model.network.merge_and_unload()
    model.merged |= {f"{name}.weight" for name in factors}


@dataclass(frozen=True)
class LoraFile:
    """What a LoRA file is to hold.

    Attributes:
        factors: ``(down, up)`` by layer, with every scale folded in.
        residual: Share of the change that the factors miss (Frobenius norms); 0 where they are exact.
    """

    factors: dict[str, tuple[Tensor, Tensor]]
    residual: float = 0.0


def lora_of(model: Any, rank: int) -> LoraFile:
    """The change of `model` as a LoRA.

    Exact for an attached LoRA and for edits in closed form. Weights that were trained themselves give the
    best change of `rank` for each layer; biases, which a LoRA has none of, count as missed.

    Raises:
        NeedNotMet: Nothing has changed, or the base weights that trained ones are compared with are not at
            hand.
    """
    exact = {name: (change.down, change.up) for name, change in model.low_rank.items()}
    if attached := dict(_lora_layers(model.network)):
        both = {name: _joined(attached[name], exact[name]) for name in attached.keys() & exact.keys()}
        return LoraFile({**exact, **attached, **both})
    own = plain_parameters(model.network)
    trained = [name for name in changed_names(model) if own[name].requires_grad or name in model.merged]
    if not trained and not model.low_rank:
        raise NeedNotMet("nothing was trained or edited: there is no change to export")
    if not trained:
        return LoraFile(exact)
    if not model.source:
        raise NeedNotMet(
            "these weights were trained themselves, and a LoRA of them needs the base to compare with: load "
            "the model from a folder, train a LoRA (parameters.kind = 'lora'), or export a 'delta'"
        )
    found = _extracted(model, trained, rank)
    return LoraFile({**exact, **found.factors}, found.residual)


def _joined(one: tuple[Tensor, Tensor], two: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return torch.cat([one[0], two[0].to(one[0])]), torch.cat([one[1], two[1].to(one[1])], 1)


def _extracted(model: Any, names: Sequence[str], rank: int) -> LoraFile:
    """The best changes of low rank from the base in the model's folder to its present weights."""
    own, folder = plain_parameters(model.network), Path(model.source) / model.family.network
    base: dict[str, Tensor] = {}
    for file in weight_files(folder):
        with safe_open(file, "pt") as tensors:
            base |= {name: tensors.get_tensor(name) for name in set(names) & set(tensors.keys())}
    factors: dict[str, tuple[Tensor, Tensor]] = {}
    missed = total = 0.0
    for name in names:
        delta = own[name].detach().float().cpu() - base[name].float()
        total += float(delta.square().sum())
        if delta.dim() == 2 and delta.any():
            u, sizes, v = torch.linalg.svd(delta, full_matrices=False)
            up, down = u[:, :rank] * sizes[:rank], v[:rank]
            factors[name.removesuffix(".weight")] = (down, up)
            delta = delta - up @ down
        missed += float(delta.square().sum())
    return LoraFile(factors, (missed / total) ** 0.5 if total else 0.0)


def _lora_layers(network: nn.Module) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    for name, layer in network.named_modules():
        downs: Any = getattr(layer, "lora_A", None)
        ups: Any = getattr(layer, "lora_B", None)
        scaling: Any = getattr(layer, "scaling", None)
        if not isinstance(downs, nn.ModuleDict) or not downs:
            continue
        adapter = next(iter(downs))
        down, up = downs[adapter].get_parameter("weight"), ups[adapter].get_parameter("weight")
        if up.any():  # a LoRA that was attached and never trained changes nothing
            yield plain_name(name), (down.detach(), scaling[adapter] * up.detach())


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


def write_patch(model: Any, path: Path, kind: str, tensors: Mapping[str, Tensor], **notes: Any) -> Path:
    """Write a patch file with its header, in which `notes` are kept as well.

    Raises:
        OutputExists: There is a file already.
    """
    if path.exists():
        raise OutputExists(f"{path} exists: give another place, or remove it")
    header = {"kind": kind, "pipeline": type(model.pipeline).__name__, "base": model.base.brief(), **notes}
    plain = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    # One entry alone: several are written in a random order, and the same patch would have different bytes.
    with replacing(path) as temporary:
        save_file(plain, temporary, metadata={HEADER: json.dumps(header)})
    return path


def read_header(path: Path) -> dict[str, Any] | None:
    """The header of a patch: ``kind``, ``pipeline``, ``base`` and notes; None for a file from elsewhere.

    Raises:
        DataError: The file is no safetensors file.
    """
    try:
        with safe_open(path, "pt") as file:
            return json.loads((file.metadata() or {}).get(HEADER, "null"))
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{path}: not a safetensors file, or a damaged one: {error}") from error


def export_lora(model: Any, folder: Path, rank: int) -> Path:
    """Write the LoRA of `model` so that plain ``pipe.load_lora_weights(folder)`` opens it."""
    lora, prefix = lora_of(model, rank), model.family.network
    tensors: dict[str, Tensor] = {}
    for name, (down, up) in lora.factors.items():
        tensors[f"{prefix}.{name}.lora_A.weight"] = down.to(model.dtype)
        tensors[f"{prefix}.{name}.lora_B.weight"] = up.to(model.dtype)
    return write_patch(model, folder / LORA_FILE, "lora", tensors, residual=lora.residual)


def export_delta(model: Any, folder: Path) -> Path:
    """Write the changed tensors of `model`, and no others.

    Raises:
        NeedNotMet: Nothing has changed, or a LoRA is attached.
    """
    if list(_lora_layers(model.network)):
        raise NeedNotMet("this model trains a LoRA: export it as 'lora', or merge it first (Diffusion.merge)")
    own = plain_parameters(model.network)
    tensors = {f"{model.family.network}.{name}": own[name].detach() for name in changed_names(model)}
    if not tensors:
        raise NeedNotMet("nothing was trained or edited: there is no change to export")
    return write_patch(model, folder / DELTA_FILE, "delta", tensors)


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
    header = read_header(path)
    if header is None:
        header = {"kind": "lora", "pipeline": "", "base": None}
    _check_base(model, path, header)
    if header["kind"] == "delta":
        _load_delta(model, path)
    else:
        model.pipeline.load_lora_weights(path.parent, weight_name=path.name, use_safetensors=True)
        model.pipeline.fuse_lora()
        model.pipeline.unload_lora_weights()
    return header["kind"]


def _check_base(model: Any, path: Path, header: Mapping[str, Any]) -> None:
    own = type(model.pipeline).__name__
    if header["pipeline"] and header["pipeline"] != own:
        raise MismatchError(f"{path}: made for a {header['pipeline']}, but this model is a {own}")
    if header["base"] is not None and not model.base.matches(header["base"]):
        raise MismatchError(f"{path}: made for other base weights: load the model that the patch's record names")


@torch.no_grad()
def _load_delta(model: Any, path: Path) -> None:
    own = plain_parameters(model.network)
    with safe_open(path, "pt") as file:
        for name in file.keys():  # noqa: SIM118 - the file is no dictionary
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
    from genunlearn.domains.diffusion.pipelines import INDEX, NOT_LOADED, parts_of

    if folder.exists() and any(folder.iterdir()):
        raise OutputExists(f"{folder} is not empty: give another place, or remove it")
    if list(_lora_layers(model.network)):
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
