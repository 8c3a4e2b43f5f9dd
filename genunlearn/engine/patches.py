"""The life of a LoRA patch: put on, taken off, several as one, and in what two of them differ.

A patch adds ``s B A`` to the weight of a layer, with ``s = alpha / rank`` (rsLoRA: over the root of the rank).
Several patches add up, so one patch of the ranks laid side by side does the same:

    s1 B1 A1 + s2 B2 A2 = [s1 B1, s2 B2] [A1; A2]
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genunlearn.contracts import Domain
from genunlearn.domains.files import read_json
from genunlearn.domains.pretrained import ADAPTER_CONFIG
from genunlearn.domains.sources import ADAPTER_WEIGHTS
from genunlearn.engine.parameters import Patch, load_patch, read_note, read_patch, save_patch
from genunlearn.errors import MismatchError

FACTOR = re.compile(r"(?:base_model\.model\.)?(?P<layer>.+)\.lora_(?:embedding_)?(?P<side>[AB])(?:\.weight)?")
STACKED = "default"
"""Name of the adapter that several are laid into; PEFT writes the one of this name into the folder itself."""


def put_on(domain: Domain, folders: Sequence[Path], *, force: bool = False) -> list[Patch]:
    """Put patches on a model in place, in the order given; all of them are active.

    Raises:
        InputError: See `load_patch`; the model carries no patch then.
    """
    try:
        return [load_patch(domain, folder, force=force, name=name) for name, folder in _named(folders)]
    except BaseException:
        take_off(domain)
        raise


def take_off(domain: Domain) -> None:
    """Take every patch off a model that carries them beside its weights, which are bit for bit as before."""
    from peft import PeftModel

    if isinstance(domain.network, PeftModel):
        domain.module = domain.network.unload()


def stack(domain: Domain, folders: Sequence[Path], out: Path, *, force: bool = False) -> str:
    """Write one patch that does what several do, in the order given; returns its hash.

    Its note lists the hashes of its parts in that order. The model is left without a patch.

    Args:
        domain: The model that all of them were made for.
        folders: The patches.
        out: Folder of the new one.
        force: Take patches that were changed, or made for another base.

    Raises:
        InputError: See `load_patch`.
        MismatchError: PEFT cannot lay them side by side.
    """
    put_on(domain, folders, force=force)
    names = [name for name, _ in _named(folders)]
    network = domain.network
    try:
        network.add_weighted_adapter(names, [1.0] * len(names), STACKED, combination_type="cat")
    except ValueError as error:
        take_off(domain)
        reason = str(error).splitlines()[0]
        raise MismatchError(
            f"{', '.join(map(str, folders))}: cannot be laid side by side ({reason}): merge them instead"
        ) from error
    network.set_adapter(STACKED)
    for name in names:
        network.delete_adapter(name)
    sha256 = save_patch(domain, out, parts=[read_note(folder).get("patch_sha256") for folder in folders])
    take_off(domain)
    return sha256


def _named(folders: Sequence[Path]) -> list[tuple[str, Path]]:
    return [(f"patch{number}", folder) for number, folder in enumerate(folders, start=1)]


# ---- two patches compared -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LayerDifference:
    """What two patches do to one layer.

    Attributes:
        layer: Its name.
        ranks: Rank of each patch there; None where it leaves the layer alone.
        norms: Frobenius norm of what each adds to the weight.
        difference: Frobenius norm of the difference of the two.
    """

    layer: str
    ranks: tuple[int | None, int | None]
    norms: tuple[float, float]
    difference: float


@dataclass(frozen=True)
class Difference:
    """In what two patches differ.

    Attributes:
        bases: Hash of the base that each names; empty where it names none.
        layers: Every layer that one of them changes, by name.
    """

    bases: tuple[str, str]
    layers: tuple[LayerDifference, ...]

    @property
    def norm(self) -> float:
        """Frobenius norm of the difference over all layers."""
        return math.hypot(*(layer.difference for layer in self.layers))

    def only(self, side: int) -> tuple[str, ...]:
        """Layers that the one patch changes (0 or 1) and the other does not."""
        return tuple(one.layer for one in self.layers if one.ranks[side] is not None and one.ranks[1 - side] is None)


def difference(one: Path, two: Path, *, force: bool = False) -> Difference:
    """In what two patches differ, from their files alone.

    Raises:
        InputError: See `read_patch`.
        MismatchError: They were made for models of other shapes, or one is no plain LoRA.
    """
    factors = tuple(_factors(folder, force=force) for folder in (one, two))
    layers = []
    for layer in sorted({*factors[0], *factors[1]}):
        pair = [found.get(layer) for found in factors]
        products = [found for found in pair if found]
        if len({(b.shape[0], a.shape[1]) for a, b in products}) > 1:
            raise MismatchError(f"{one} and {two}: {layer} has another shape in each: they are for different models")
        norms = tuple(_norm([found], [1]) if found else 0.0 for found in pair)
        ranks = tuple(len(found[0]) if found else None for found in pair)
        gap = _norm(products, [1, -1])
        layers.append(LayerDifference(layer, ranks, norms, gap))  # type: ignore[arg-type]
    bases = tuple(str(read_note(folder).get("base_sha256") or "") for folder in (one, two))
    return Difference(bases, tuple(layers))  # type: ignore[arg-type]


def _norm(products: Sequence[tuple[Tensor, Tensor]], signs: Sequence[int]) -> float:
    """Frobenius norm of ``sum sign B A``, without the matrix: ``|B A|^2 = tr(B^T B A A^T)``."""
    a = torch.cat([a for a, _ in products])
    b = torch.cat([sign * b for (_, b), sign in zip(products, signs, strict=False)], dim=1)
    return float(((b.T @ b) * (a @ a.T)).sum().clamp_min(0).sqrt())


def _factors(folder: Path, *, force: bool) -> dict[str, tuple[Tensor, Tensor]]:
    """``A (rank, in)`` and ``s B (out, rank)`` by layer, in double precision."""
    from safetensors.torch import load_file

    read_patch(folder, force=force)
    config, found = read_json(folder / ADAPTER_CONFIG), dict[str, dict[str, Tensor]]()
    if config.get("use_dora"):
        raise MismatchError(f"{folder}: use_dora = true: only plain LoRAs can be compared")
    for name, tensor in load_file(folder / ADAPTER_WEIGHTS).items():
        if parts := FACTOR.fullmatch(name):
            found.setdefault(parts["layer"], {})[parts["side"]] = tensor.double().flatten(1)
    factors = {}
    for layer, sides in found.items():
        a, b = sides.get("A"), sides.get("B")
        if a is None or b is None or len(a) != b.shape[1]:
            raise MismatchError(f"{folder}: the tensors of {layer} are not those of a LoRA; fetch the patch again")
        factors[layer] = (a, _scale(config, layer, len(a)) * b)
    if not factors:
        raise MismatchError(f"{folder}: holds no LoRA tensors; fetch the patch again")
    return factors


def _scale(config: Mapping[str, Any], layer: str, rank: int) -> float:
    from peft.utils.other import get_pattern_key

    pattern = config.get("alpha_pattern") or {}
    alpha = pattern.get(get_pattern_key([*pattern], layer), config.get("lora_alpha"))
    if not isinstance(alpha, int | float):
        raise MismatchError(f"lora_alpha = {alpha!r} in {ADAPTER_CONFIG} is no number; fetch the patch again")
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
