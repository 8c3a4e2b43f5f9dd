"""What a file of tensors changes in a pipeline, whichever tool has written it.

    LoRAs           of diffusers, PEFT and kohya, on the denoiser and on text encoders
    other tensors   new values of parameters: some of them, a whole denoiser or a single-file checkpoint, by the names
                    of diffusers or of LDM

Every tensor of a file has to find its place, in the right shape and with finite values, or the file is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genunlearn.domains.diffusion.layout import TEXT_ENCODERS, WRAPPERS, Names, Place, same_shape
from genunlearn.domains.pretrained import no_remarks
from genunlearn.errors import DataError, MismatchError
from genunlearn.ops.linear_edits import LowRank

ACCEPTED = (
    "accepted are LoRAs of diffusers, PEFT and kohya, and safetensors files of changed tensors, whole denoisers or "
    "single-file checkpoints, named as in diffusers or LDM"
)
ENDINGS = {
    "down": ("lora_A", "lora_A.default", "lora_down", "lora.down", "lora_linear_layer.down"),
    "up": ("lora_B", "lora_B.default", "lora_up", "lora.up", "lora_linear_layer.up"),
}
"""How names of the two factors end, before ``.weight``."""
PROCESSOR = re.compile(r"^(.*?)(?:\.processor)?\.to_(q|k|v|out)_lora\.(down|up)\.weight$")
"""Names of early versions of diffusers."""
OTHER_ADAPTERS = {
    r"\bhada_w": "a LoHa",
    r"\blokr_w": "a LoKr",
    r"\boft_": "an OFT adapter",
    r"\bdora_scale|\blora_magnitude_vector": "a DoRA",
    r"\blora_mid\b": "a LoRA with Tucker factors",
    r"\blora_[AB](\.\w+)?\.bias$": "a LoRA with biases",
    r"\.diff(_b)?$": "a LoRA with whole differences",
    r"\blora_embedding": "a LoRA of embeddings",
}
IS_ADAPTER = re.compile(r"\blora_|_lora\b|\.lora\.|\.alpha$|" + "|".join(OTHER_ADAPTERS))
NO_WEIGHTS = re.compile(
    r"(^|\.)(position_ids|logit_scale|logvar|sigmas|betas|alphas_cumprod\w*|sqrt_\w+|log_one_minus\w+|posterior_\w+)$"
    r"|^model_ema\.|^first_stage_model\.loss\."
)
"""What checkpoints hold besides weights: tables of the schedule, counters, averaged copies."""
OPEN_CLIP = {
    "cond_stage_model.model.": "text_encoder",
    "conditioner.embedders.0.model.": "text_encoder_2",
    "conditioner.embedders.1.model.": "text_encoder_2",
}


@dataclass
class Changes:
    """What a patch changes, all of it checked.

    Attributes:
        low_rank: Changes to add, by weight; several are added one after the other.
        tensors: New values.
    """

    low_rank: dict[Place, list[LowRank]] = field(default_factory=dict)
    tensors: dict[Place, Tensor] = field(default_factory=dict)

    def parts(self) -> set[str]:
        """The parts of the pipeline that change."""
        return {place.part for place in (*self.low_rank, *self.tensors)}

    def check(self, names: Names, source: Path) -> None:
        """Refuse changes after which a weight would be infinite, in the precision that the pipeline has.

        Raises:
            DataError: There is one.
        """
        for place, new in self._values(names):
            if not new.isfinite().all():
                name = f"{place.part}.{place.name}"
                raise DataError(f"{source}: {name!r} would have infinite values; fetch it again, or load in float32")

    def apply(self, names: Names) -> None:
        """Make the changes in place."""
        for place, new in self._values(names):
            names.parameters[place].copy_(new)

    @torch.no_grad()
    def _values(self, names: Names) -> Iterator[tuple[Place, Tensor]]:
        """Each changed weight as it will be, one after the other: both kinds of change at once would fill memory."""
        for place in dict.fromkeys([*self.tensors, *self.low_rank]):
            own = names.parameters[place]
            new = self.tensors[place].reshape(own.shape).to(own.device) if place in self.tensors else own
            for change in self.low_rank.get(place, ()):
                new = new.float() + change.delta().reshape(own.shape).to(own.device)
            yield place, new.to(own.dtype)


def read_changes(
    tensors: Mapping[str, Tensor],
    path: Path,
    names: Names,
    pipeline: Any,
    *,
    part: str = "",
    scales: Mapping[str, Any] | None = None,
) -> Changes:
    """What the tensors of a file change.

    Args:
        tensors: By name.
        path: The file, for messages.
        names: What the pipeline's parameters are called.
        pipeline: The pipeline, whose class knows further LoRA formats.
        part: The part of the pipeline that the names belong to, where they do not say so.
        scales: Configurations of PEFT, which say how strong each layer's change is, by part; "" is for all.

    Raises:
        DataError: There are no tensors, NaN or infinite values, or it is another kind of adapter.
        MismatchError: A tensor has no place in this pipeline, or another shape.
    """
    kept = {name: tensor for name, tensor in tensors.items() if not NO_WEIGHTS.search(name)}
    if not kept:
        raise DataError(f"{path}: no tensors; {ACCEPTED}")
    if part:
        kept = {f"{part}.{WRAPPERS.sub('', name)}": tensor for name, tensor in kept.items()}
    if any(IS_ADAPTER.search(name) for name in kept):
        changes = Changes(low_rank=_Adapter(path, names, pipeline, scales or {}).read(kept))
    else:
        changes = Changes(tensors=_plain(_from_open_clip(kept, path, names, pipeline), path, names))
    for name, tensor in kept.items():  # of a file for something else, this would not be what is wrong
        if not tensor.is_floating_point():
            raise DataError(f"{path}: tensor {name!r} is of type {tensor.dtype}; floating point is accepted")
        if not tensor.float().isfinite().all():
            raise DataError(f"{path}: tensor {name!r} has NaN or infinite values; fetch or write the file again")
    return changes


# ---- new values of parameters --------------------------------------------------------------------------------------


def _plain(tensors: Mapping[str, Tensor], path: Path, names: Names) -> dict[Place, Tensor]:
    places = _place_all(path, {name: names.parameter(name) for name in tensors})
    found: dict[Place, Tensor] = {}
    for name, place in places.items():
        own = names.parameters[place]
        if not same_shape(tensors[name], own):
            raise MismatchError(_misfit(path, name, tensors[name], own))
        if place in found:
            raise DataError(f"{path}: {place.part}.{place.name} is there twice, under two names; leave one out")
        found[place] = tensors[name]
    return found


def _place_all(path: Path, candidates: Mapping[str, list[Place]]) -> dict[str, Place]:
    """One place a name.

    Raises:
        MismatchError: A name has none, or several.
    """
    lost = [name for name, places in candidates.items() if not places]
    if lost:
        share = f"{len(lost)} of {len(candidates)}" if len(lost) < len(candidates) else f"none of {len(candidates)}"
        fit = "have no place in" if len(lost) < len(candidates) else "have a place in"
        raise MismatchError(f"{path}: {share} layers or tensors {fit} this pipeline, such as {lost[0]!r}; {ACCEPTED}")
    for name, places in candidates.items():
        if len(places) > 1:
            parts = " and ".join(dict.fromkeys(place.part for place in places))
            raise MismatchError(f"{path}: {name!r} fits {parts} alike; begin names with the part that they belong to")
    return {name: places[0] for name, places in candidates.items()}


def _from_open_clip(tensors: Mapping[str, Tensor], path: Path, names: Names, pipeline: Any) -> dict[str, Tensor]:
    """The same tensors, with text encoders of OpenCLIP (SD 2.x, SDXL) named as in transformers."""
    rest = dict(tensors)
    for prefix, part in OPEN_CLIP.items():
        own = {name: rest.pop(name) for name in list(rest) if name.startswith(prefix)}
        if not own:
            continue
        encoder = getattr(pipeline, part, None)
        if encoder is None:
            raise MismatchError(f"{path}: has an OpenCLIP text encoder, which this pipeline has none of")
        from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint

        try:
            converted = convert_open_clip_checkpoint(encoder, own, prefix=prefix)
        except (KeyError, IndexError, ValueError, RuntimeError, AttributeError) as error:
            raise MismatchError(f"{path}: its OpenCLIP text encoder cannot be read; {ACCEPTED}") from error
        for name, tensor in converted.items():
            full = f"{part}.{name}"
            if name != "text_projection.weight" or names.parameter(full):  # SD 2.x does without
                rest[full] = tensor
    return rest


# ---- LoRAs ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Adapter:
    """A reader of LoRAs of one file."""

    path: Path
    names: Names
    pipeline: Any
    scales: Mapping[str, Any]

    def read(self, tensors: Mapping[str, Tensor]) -> dict[Place, list[LowRank]]:
        self._refuse_others(tensors)
        downs, ups, alphas = self._sorted(self._converted(tensors))
        if downs.keys() != ups.keys() or not downs:
            alone = sorted(downs.keys() ^ ups.keys()) or sorted(alphas)
            raise DataError(f"{self.path}: {alone[0]!r} lacks one of its two factors; fetch the file again")
        if lost := sorted(alphas.keys() - downs.keys()):
            raise DataError(f"{self.path}: {lost[0]!r} has an alpha and no factors; fetch the file again")
        places = _place_all(self.path, {layer: self.names.layer(layer) for layer in downs})
        found: dict[Place, list[LowRank]] = {}
        for layer, place in places.items():
            change = self._change(layer, downs[layer], ups[layer], alphas.get(layer))
            own = self.names.parameters[place]
            if change.up.shape[0] != own.shape[0] or change.down.shape[1] * own.shape[0] != own.numel():
                raise MismatchError(_misfit(self.path, layer, change.up[:, :1] @ change.down[:1], own))
            found.setdefault(place, []).append(change)
        return found

    def _refuse_others(self, tensors: Mapping[str, Tensor]) -> None:
        for name in tensors:
            for mark, kind in OTHER_ADAPTERS.items():
                if re.search(mark, name):
                    raise DataError(f"{self.path}: {kind} ({name!r}); {ACCEPTED}: extract a plain LoRA from it")

    def _converted(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Names as the pipeline's own class converts them, where some are of no layer of a transformer."""
        layers = {_layer_of(name)[0] for name in tensors}
        if not hasattr(self.pipeline, "transformer") or all(self.names.layer(layer) for layer in layers):
            return dict(tensors)
        try:
            with no_remarks():
                found = type(self.pipeline).lora_state_dict({name: t.clone() for name, t in tensors.items()})
            return dict(found[0] if isinstance(found, tuple) else found)
        except Exception:  # whatever its converters trip over, the names have no place and are refused as such
            return dict(tensors)

    def _sorted(self, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        downs: dict[str, Tensor] = {}
        ups: dict[str, Tensor] = {}
        alphas: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            layer, role = _layer_of(name)
            side = {"down": downs, "up": ups, "alpha": alphas}.get(role)
            if side is None:
                raise DataError(f"{self.path}: {name!r} is no part of a LoRA; {ACCEPTED}")
            if layer in side:
                raise DataError(f"{self.path}: {layer!r} is there twice, under two names; leave one out")
            side[layer] = tensor
        return downs, ups, alphas

    def _change(self, layer: str, down: Tensor, up: Tensor, alpha: Tensor | None) -> LowRank:
        rank = down.shape[0] if down.dim() in (2, 4) else 0
        is_pair = up.dim() == down.dim() and up.numel() and down.numel() and up[0].numel() == up.shape[1] == rank
        if not is_pair:
            shapes = f"{tuple(down.shape)} and {tuple(up.shape)}"
            raise DataError(f"{self.path}: the factors of {layer!r}, {shapes}, are no pair; fetch the file again")
        if alpha is not None and alpha.numel() != 1:
            raise DataError(f"{self.path}: the alpha of {layer!r} is of shape {tuple(alpha.shape)}; it is one number")
        scale = _peft_scale(self.scales, layer, rank, self.path) if alpha is None else float(alpha) / rank
        return LowRank(scale * up.float().flatten(1), down.float().flatten(1))


def _layer_of(name: str) -> tuple[str, str]:
    """The layer that a tensor of a LoRA belongs to, and whether it is its down, up or alpha."""
    if found := PROCESSOR.match(name):
        layer, which, role = found.groups()
        in_text = any(WRAPPERS.sub("", layer).startswith(f"{part}.") for part in TEXT_ENCODERS) or "self_attn" in layer
        own = f"{which}_proj" if in_text else f"to_{which}"
        return f"{layer}.{own if which != 'out' else 'out_proj' if in_text else 'to_out.0'}", role
    if name.endswith(".alpha"):
        return name.removesuffix(".alpha"), "alpha"
    for role, endings in ENDINGS.items():
        for ending in endings:
            if name.endswith(f".{ending}.weight"):
                return name.removesuffix(f".{ending}.weight"), role
    return name, ""


def _peft_scale(scales: Mapping[str, Any], layer: str, rank: int, path: Path) -> float:
    """``alpha / rank`` of a layer as a configuration of PEFT has it; 1 without one."""
    part = WRAPPERS.sub("", layer).partition(".")[0]
    config = scales.get(part, scales.get("", {}))
    try:
        alpha = float(_by_pattern(config.get("alpha_pattern"), layer, config.get("lora_alpha", rank)))
        scale = alpha / (rank**0.5 if config.get("use_rslora") else rank)
    except (TypeError, AttributeError, ValueError, OverflowError, RecursionError, re.error) as error:
        raise DataError(f"{path}: its configuration has no usable lora_alpha; fetch or write it again") from error
    if not math.isfinite(scale):
        raise DataError(f"{path}: its configuration has lora_alpha = {alpha}; it is a finite number")
    return scale


def _by_pattern(patterns: Any, layer: str, default: Any) -> Any:
    """PEFT's rule: a pattern fits the end of a layer's name."""
    return next((v for k, v in (patterns or {}).items() if re.match(rf"(.*\.)?({k})$", layer)), default)


def _misfit(path: Path, name: str, tensor: Tensor, own: Tensor) -> str:
    return (
        f"{path}: {name!r} is for a weight of shape {tuple(tensor.shape)}, this pipeline's is {tuple(own.shape)}: it "
        "belongs to another architecture; take the pipeline that it was made for"
    )
