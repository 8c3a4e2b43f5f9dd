"""What files of other tools call the parameters of a pipeline: its own names, LDM's, and kohya's flattened ones.

    diffusers   unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight, with or without ``unet.``
    LDM         model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight
    kohya       lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k, or the LDM name likewise

LDM is the layout of the original Stable Diffusion code, in which single-file checkpoints are released. Its names
follow from the configuration of a UNet or VAE by counting blocks, so that a file with a few changed tensors is
understood as well as a whole one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from genunlearn.domains.diffusion.layers import plain_name

TEXT_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
WRAPPERS = re.compile(r"(?<![^.])(?:module|_orig_mod|base_model\.model)\.")
"""What wrappers for several processes, for compiling and for LoRA put into a name, before or after the part's."""

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
UNET = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


class Place(NamedTuple):
    """A parameter of a pipeline: the name of its part and its own name in there."""

    part: str
    name: str


class Names:
    """Every name under which files know the parameters of a pipeline.

    Attributes:
        parameters: The parameters themselves, and buffers that are saved with them, by place.
    """

    def __init__(self, parts: Mapping[str, nn.Module], network: str) -> None:
        """Collect the names.

        Args:
            parts: Denoiser, text encoders and VAE, by the pipeline's names for them.
            network: Which of them is the denoiser.
        """
        self.parameters: dict[Place, Tensor] = {}
        self._places: dict[str, list[Place]] = {}
        self._layers: dict[str, list[Place]] = {}
        for part, module in parts.items():
            others = _ldm_names(part, module, network)
            for full, parameter in module.state_dict().items():
                if "lora_" in full or not parameter.is_floating_point():
                    continue
                place = Place(part, plain_name(full))
                self.parameters[place] = parameter
                for alias in {*self._aliases(place, network), *(f"{p}{n}" for p, n in others(place.name))}:
                    self._places.setdefault(alias, []).append(place)
                if place.name.endswith(".weight"):
                    for alias in set(self._kohya(place, network, [n for _, n in others(place.name)])):
                        self._layers.setdefault(alias, []).append(place)

    def parameter(self, name: str) -> list[Place]:
        """Places that a file may mean with the name of a parameter; none, or several where it is ambiguous."""
        return self._places.get(WRAPPERS.sub("", name), [])

    def layer(self, name: str) -> list[Place]:
        """Places of the weights that a file may mean with the name of a layer."""
        return self.parameter(f"{name}.weight") or self._layers.get(name, [])

    def _aliases(self, place: Place, network: str) -> Iterator[str]:
        part, name = place
        names = {name}
        if part in TEXT_ENCODERS:  # which of both CLIP has depends on the version of transformers
            names |= {name.removeprefix("text_model."), f"text_model.{name.removeprefix('text_model.')}"}
        for each in names:
            yield f"{part}.{each}"
            if part == network or part in TEXT_ENCODERS:
                yield each

    def _kohya(self, place: Place, network: str, others: list[str]) -> Iterator[str]:
        part, name = place
        if part == network:
            names, prefixes = [name, *others], [f"lora_{part}", "lora_unet"]
        elif part in TEXT_ENCODERS:
            number = TEXT_ENCODERS.index(part) + 1
            names, prefixes = [name.removeprefix("text_model.")], [f"lora_te{number}"]
            prefixes += ["lora_te"] if number == 1 else []
            names += [f"text_model.{names[0]}"]
        else:
            return
        for prefix in dict.fromkeys(prefixes):
            for each in names:
                yield f"{prefix}_{each.removesuffix('.weight').replace('.', '_')}"


def kohya_name(layer: str, config: Any, *, is_ldm: bool) -> str:
    """The name that kohya's scripts give a layer of a UNet: flattened, SDXL's from the LDM layout."""
    name = unet_name(f"{layer}.weight", unet_blocks(config)).removesuffix(".weight") if is_ldm else layer
    return f"lora_unet_{name.replace('.', '_')}"


def _ldm_names(part: str, module: nn.Module, network: str) -> Any:
    """For a parameter's name, pairs of an LDM prefix and its name below it."""
    config: Any = getattr(module, "config", None)
    if part == network and part == "unet":
        blocks = unet_blocks(config)
        return lambda name: [(p, unet_name(name, blocks)) for p in ("model.diffusion_model.", "diffusion_model.", "")]
    if part == "vae":
        count = len(config.block_out_channels)
        return lambda name: [("first_stage_model.", vae_name(name, count))]
    if part in TEXT_ENCODERS[:2]:
        number = TEXT_ENCODERS.index(part)
        before = [f"conditioner.embedders.{number}.transformer.", *(["cond_stage_model.transformer."] * (not number))]

        def names(name: str) -> list[tuple[str, str]]:
            bare = name.removeprefix("text_model.")
            return [(prefix, each) for prefix in before for each in (bare, f"text_model.{bare}")]

        return names
    return lambda name: []


def unet_blocks(config: Any) -> dict[str, str]:
    """LDM's names of a UNet's parts, by diffusers' names; see `UNET` for those that are always the same."""
    found = dict(UNET)
    each = config.layers_per_block
    down = config.down_block_types
    layers = list(each) if isinstance(each, list | tuple) else [each] * len(down)
    number = 0
    for block, kind in enumerate(down):
        for layer in range(layers[block]):
            number += 1
            found[f"down_blocks.{block}.resnets.{layer}"] = f"input_blocks.{number}.0"
            if "Attn" in kind:
                found[f"down_blocks.{block}.attentions.{layer}"] = f"input_blocks.{number}.1"
        if block < len(down) - 1:
            number += 1
            found[f"down_blocks.{block}.downsamplers.0.conv"] = f"input_blocks.{number}.0.op"
    number = 0
    for block, kind in enumerate(config.up_block_types):
        above = layers[len(down) - 1 - block]
        for layer in range(above + 1):
            found[f"up_blocks.{block}.resnets.{layer}"] = f"output_blocks.{number}.0"
            if "Attn" in kind:
                found[f"up_blocks.{block}.attentions.{layer}"] = f"output_blocks.{number}.1"
            if layer == above and block < len(down) - 1:
                place = 2 if "Attn" in kind else 1
                found[f"up_blocks.{block}.upsamplers.0.conv"] = f"output_blocks.{number}.{place}.conv"
            number += 1
    return found


def unet_name(name: str, blocks: Mapping[str, str]) -> str:
    """LDM's name of a UNet's parameter."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        if (head := ".".join(parts[:length])) in blocks:
            rest = parts[length:]
            if ".resnets." in head and rest[0] in RESNET:
                rest = [RESNET[rest[0]], *rest[1:]]
            return ".".join([blocks[head], *rest])
    return name


def vae_name(name: str, count: int) -> str:
    """LDM's name of a parameter of a VAE with `count` levels."""

    def level(found: re.Match[str]) -> str:
        side, number, rest = found[1], int(found[2]), found[3]
        rest = re.sub(r"^resnets\.(\d+)", r"block.\1", rest)
        rest = re.sub(r"^(?:down|up)samplers\.0", f"{side}sample", rest)
        return f"{side}.{number if side == 'down' else count - 1 - number}.{rest}"

    name = re.sub(r"(down|up)_blocks\.(\d+)\.(.*)", level, name)
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda found: f"mid.block_{int(found[1]) + 1}", name)
    if ".mid_block.attentions.0." in name:
        head, _, tail = name.partition("mid_block.attentions.0.")
        layer, _, kind = tail.rpartition(".")
        return f"{head}mid.attn_1.{VAE_ATTENTION.get(layer, layer)}.{kind}"
    return name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")


def same_shape(tensor: Tensor, own: Tensor) -> bool:
    """Whether a tensor can take the place of another: a linear layer may lie in a file as a 1 x 1 convolution."""
    return _trimmed(tensor.shape) == _trimmed(own.shape)


def _trimmed(shape: Any) -> tuple[int, ...]:
    sides = tuple(shape)
    return sides[:2] if len(sides) == 4 and sides[2:] == (1, 1) else sides
