"""Changed weights of a denoiser: added, merged, and read off as a LoRA."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from genunlearn.domains.diffusion.layers import plain_name
from genunlearn.domains.diffusion.patches import patch_file, read_tensors
from genunlearn.domains.diffusion.pipelines import loaded_files
from genunlearn.errors import MismatchError, NeedNotMet
from genunlearn.ops.linear_edits import LowRank


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
    attached = dict(lora_layers(model.network))
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
    factors = dict(lora_layers(model.network))
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
    if attached := dict(lora_layers(model.network)):
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
    for file in loaded_files(folder):
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


def lora_layers(network: nn.Module) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    """Layers with a trained LoRA beside them, and its factors ``(down, up)`` with the scale folded in."""
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
    tensors = read_tensors(patch_file(path))
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
