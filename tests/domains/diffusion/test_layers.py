"""Which weights a pattern stands for, family by family."""

import pytest
from torch import nn

from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.errors import MismatchError, NeedNotMet
from tests.tiny_pipelines import FAMILIES, tiny


def model(family: str) -> Diffusion:
    return Diffusion(tiny(family), text_length=16)


@pytest.mark.parametrize("family", FAMILIES)
def test_x_and_u_part_the_layers_between_them(family: str) -> None:
    adapter = model(family)
    x, u, full, strict = (adapter.parameter_names(name) for name in ("x", "u", "full", "strict"))
    assert set(x).isdisjoint(u)
    assert sorted((*x, *u)) == sorted(full)
    assert set(strict) < set(x)
    assert set(full) <= set(dict(adapter.network.named_parameters()))


@pytest.mark.parametrize(("family", "kept"), [("sd1", "to_[kv]"), ("sd3", "add_[kv]_proj"), ("flux", "add_[kv]_proj")])
def test_strict_is_keys_and_values_of_the_prompt(family: str, kept: str) -> None:
    adapter = model(family)
    assert set(adapter.parameter_names("strict")) == {
        name for name in adapter.parameter_names("x") if name in adapter.parameter_names(rf"\.{kept}\.(weight|bias)$")
    }


def test_cross_attention_of_a_unet() -> None:
    names = model("sd1").parameter_names("x")
    assert all(".attn2." in name for name in names)
    assert sum("to_k.weight" in name for name in names) == 4
    assert not any("norm" in name for name in names)


def test_a_regular_expression_reaches_every_parameter() -> None:
    assert model("sd1").parameter_names(r"mid_block.*norm2\.bias") == (
        "mid_block.attentions.0.transformer_blocks.0.norm2.bias",
        "mid_block.resnets.0.norm2.bias",
        "mid_block.resnets.1.norm2.bias",
    )


@pytest.mark.parametrize("pattern", ["xattn", "noxattn"])
def test_a_pattern_that_selects_nothing(pattern: str) -> None:
    with pytest.raises(MismatchError, match=f"parameters = '{pattern}' selects nothing in UNet2DConditionModel: use x"):
        model("sd1").parameter_names(pattern)


def test_a_pattern_that_is_none() -> None:
    with pytest.raises(MismatchError, match=r"parameters = '\(' is not a regular expression"):
        model("sd1").parameter_names("(")


def test_layers_for_a_lora() -> None:
    adapter = model("sd1")
    layers = adapter.layer_names("strict")
    assert len(layers) == 8
    assert all(isinstance(adapter.network.get_submodule(name), nn.Linear) for name in layers)
    with pytest.raises(MismatchError, match="names no linear or convolution layer for a LoRA"):
        adapter.layer_names(r"norm2\.bias")


@pytest.mark.parametrize(
    ("family", "count", "width"), [("sd1", 8, 32), ("sdxl", 8, 64), ("sd3", 1, 64), ("flux", 1, 64)]
)
def test_layers_that_read_the_prompt(family: str, count: int, width: int) -> None:
    adapter = model(family)
    layers = adapter.prompt_layers()
    assert len(layers) == count
    assert {layer.in_features for layer in layers.values()} == {width}
    assert width == adapter.encode_prompts(["a cat"]).tokens.shape[-1]


def test_values_alone() -> None:
    assert all(name.endswith("to_v") for name in model("sd1").prompt_layers(values_only=True))
    with pytest.raises(NeedNotMet, match="values only: FluxTransformer2DModel has no cross-attention"):
        model("flux").prompt_layers(values_only=True)
