"""Patches and checkpoints of other tools: taken exactly as they are meant, or refused with nothing changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch import Tensor

from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.exports import export_kohya
from genunlearn.domains.diffusion.patches import KOHYA_FILE
from genunlearn.domains.diffusion.sampling import Sampling
from genunlearn.errors import DataError, InputError, MismatchError, NeedNotMet, SourceNotFound
from genunlearn.ops.linear_edits import LowRank
from tests import strangers
from tests.tiny_pipelines import FAMILIES, MAX_TOKENS, tiny

FEW = Sampling(steps=2, guidance=3.0)
TO_K = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
CONV = "mid_block.resnets.0.conv1"
Q = "encoder.layers.0.self_attn.q_proj"


def model(family: str = "sd1", seed: int = 0) -> Diffusion:
    return Diffusion(tiny(family, seed), text_length=MAX_TOKENS)


def look(adapter: Diffusion) -> Tensor:
    return adapter.images(["a digit seven", "a red cat"], [1, 2], FEW)


def state(adapter: Diffusion) -> dict[str, Tensor]:
    parts = adapter.components()
    return {f"{part}.{n}": t.clone() for part, module in parts.items() for n, t in module.state_dict().items()}


def with_changes(pipeline: Any, factors: dict[tuple[str, str], tuple[Tensor, Tensor]], scale: float) -> Diffusion:
    """What the factors stand for: ``W + scale * up @ down``, by hand."""
    with torch.no_grad():
        for (part, name), (down, up) in factors.items():
            weight = getattr(pipeline, part).get_submodule(name).weight
            weight += scale * (up @ down).reshape(weight.shape)
    return Diffusion(pipeline, text_length=MAX_TOKENS)


def assert_same(one: Diffusion, two: Diffusion) -> None:
    mine, its = state(one), state(two)
    assert mine.keys() == its.keys()
    for name, tensor in mine.items():
        torch.testing.assert_close(tensor, its[name], atol=1e-5, rtol=1e-5, msg=name)


FACTORS: dict[str, list[str]] = {"unet": [TO_K, CONV], "text_encoder": [Q]}


def as_diffusers(factors: Any) -> tuple[dict[str, Tensor], dict[str, str]]:
    tensors = {}
    for (part, name), (down, up) in factors.items():
        tensors |= {
            f"{part}.{name}.lora_A.weight": shaped(name, down, 0),
            f"{part}.{name}.lora_B.weight": shaped(name, up, 1),
        }
    settings = {f"{part}.{key}": value for part in FACTORS for key, value in {"lora_alpha": 1, "r": 2}.items()}
    return tensors, {"lora_adapter_metadata": json.dumps(settings)}


def as_old_diffusers(factors: Any) -> tuple[dict[str, Tensor], dict[str, str]]:
    tensors = {}
    for (part, name), (down, up) in factors.items():
        layer = f"{part}.text_model.{name}.lora_linear_layer" if part == "text_encoder" else f"{part}.{name}.lora"
        if part == "unet" and name == TO_K:
            layer = f"unet.{name.removesuffix('.to_k')}.processor.to_k_lora"
        tensors |= {f"{layer}.down.weight": shaped(name, down, 0), f"{layer}.up.weight": 0.5 * shaped(name, up, 1)}
    return tensors, {}


def as_kohya(factors: Any) -> tuple[dict[str, Tensor], dict[str, str]]:
    tensors = {}
    for (part, name), (down, up) in factors.items():
        prefix = "lora_te_text_model_" if part == "text_encoder" else "lora_unet_"
        tensors |= strangers.kohya(prefix + name.replace(".", "_"), shaped(name, down, 0), shaped(name, up, 1), 1.0)
    return tensors, {"ss_network_module": "networks.lora"}


def shaped(name: str, factor: Tensor, side: int) -> Tensor:
    """Factors of a convolution have four sides."""
    if name != CONV:
        return factor
    return factor[..., None, None] if side else factor.view(len(factor), -1, 3, 3)


@pytest.mark.parametrize("form", [as_diffusers, as_old_diffusers, as_kohya])
def test_a_lora_of_denoiser_and_text_encoder_is_taken_exactly(form: Callable[..., Any], tmp_path: Path) -> None:
    # Rank 2 and alpha 1: every form means W + 0.5 up @ down.
    pipeline = tiny("sd1")
    factors = strangers.lora(pipeline, FACTORS)
    tensors, metadata = form(factors)
    patched = model()
    look(patched)  # prompts are embedded before, and have to be embedded anew
    assert patched.load_patch(strangers.save(tensors, tmp_path / "a.safetensors", **metadata)) == "lora"
    expected = with_changes(pipeline, factors, 0.5)
    assert_same(patched, expected)
    torch.testing.assert_close(look(patched), look(expected), atol=1e-4, rtol=0)


def test_kohya_names_of_sdxl_are_those_of_its_original_code(tmp_path: Path) -> None:
    pipeline = tiny("sdxl")
    factors = strangers.lora(pipeline, {"unet": [TO_K], "text_encoder": [Q], "text_encoder_2": [f"text_model.{Q}"]})
    names = {
        "unet": "lora_unet_input_blocks_1_1_transformer_blocks_0_attn2_to_k",
        "text_encoder": f"lora_te1_text_model_{Q.replace('.', '_')}",
        "text_encoder_2": f"lora_te2_text_model_{Q.replace('.', '_')}",
    }
    tensors: dict[str, Tensor] = {}
    for (part, _), (down, up) in factors.items():
        tensors |= strangers.kohya(names[part], down, up, 4.0)
    patched = model("sdxl")
    patched.load_patch(strangers.save(tensors, tmp_path / "a.safetensors"))
    assert_same(patched, with_changes(pipeline, factors, 2.0))


@pytest.mark.parametrize("by_part", [False, True])
def test_a_folder_of_peft(by_part: bool, tmp_path: Path) -> None:
    changed = tiny("sd1")
    for part, targets in (("unet", ["to_k", "to_v"]), ("text_encoder", ["q_proj"]))[: 1 + by_part]:
        config = LoraConfig(
            r=2, lora_alpha=6, target_modules=targets, alpha_pattern={"attn2.to_k": 10}, use_rslora=True
        )
        wrapped = get_peft_model(getattr(changed, part), config)
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(1))
        wrapped.save_pretrained(tmp_path / part if by_part else tmp_path)
        setattr(changed, part, wrapped.merge_and_unload())
    patched = model()
    assert patched.load_patch(tmp_path) == "lora"
    assert_same(patched, Diffusion(changed))


@pytest.mark.parametrize(
    "prefix", ["", "unet.", "module.", "unet.module.", "model.diffusion_model.", "diffusion_model."]
)
@pytest.mark.parametrize("whole", [True, False])
def test_changed_tensors_under_every_usual_name(prefix: str, whole: bool, tmp_path: Path) -> None:
    other = tiny("sd1", seed=4)
    if "diffusion_model" in prefix:
        tensors = strangers.ldm_unet(other, prefix)
    else:
        tensors = {prefix + name: tensor for name, tensor in other.unet.state_dict().items()}
    if not whole:
        tensors = {name: tensor for name, tensor in tensors.items() if "attn2" in name}
    patched, expected = model(), model()
    assert patched.load_patch(strangers.save(tensors, tmp_path / "esd.safetensors")) == "delta"
    kept = {n: t for n, t in other.unet.state_dict().items() if whole or "attn2" in n}
    expected.network.load_state_dict(kept, strict=whole)
    assert_same(patched, expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_bare_denoiser_of_every_family(family: str, tmp_path: Path) -> None:
    other = model(family, seed=4)
    path = strangers.save(other.network.state_dict(), tmp_path / "diffusion_pytorch_model.safetensors")
    (tmp_path / "config.json").write_text("{}")
    patched = model(family)
    patched.load_patch(tmp_path)
    torch.testing.assert_close(patched.network.state_dict(), other.network.state_dict())
    assert path.is_file()


def test_a_text_encoder_alone(tmp_path: Path) -> None:
    other = tiny("sd1", seed=4)
    tensors = {f"text_model.{name}": tensor for name, tensor in other.text_encoder.state_dict().items()}
    tensors["text_model.embeddings.position_ids"] = torch.arange(16)[None]
    patched = model()
    before = look(patched)
    patched.load_patch(strangers.save(tensors, tmp_path / "adv_unlearn.safetensors"))
    torch.testing.assert_close(patched.pipeline.text_encoder.state_dict(), other.text_encoder.state_dict())
    assert not torch.allclose(look(patched), before, atol=1e-3)


def test_a_changed_text_encoder_is_not_read_again_from_the_folder(tmp_path: Path) -> None:
    tiny("sd1").save_pretrained(tmp_path / "base")
    other = tiny("sd1", seed=4)
    path = strangers.save(
        {f"text_encoder.{n}": t for n, t in other.text_encoder.state_dict().items()}, tmp_path / "a.safetensors"
    )
    patched = Diffusion.load(str(tmp_path / "base"), device="cpu")
    patched.load_patch(path)
    expected = look(patched)
    patched.release()
    torch.testing.assert_close(patched.pipeline.text_encoder.state_dict(), other.text_encoder.state_dict())
    torch.testing.assert_close(look(patched), expected)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_a_single_file_checkpoint_as_a_patch(family: str, tmp_path: Path) -> None:
    other = tiny(family, seed=3)
    patched = model(family)
    patched.load_patch(strangers.save(strangers.single_file(other), tmp_path / "a.safetensors"))
    assert_same(patched, Diffusion(other, text_length=MAX_TOKENS))


def test_a_single_file_checkpoint_as_a_model(tmp_path: Path) -> None:
    tiny("sd1").save_pretrained(tmp_path)
    other = tiny("sd1", seed=3)
    path = strangers.save(strangers.single_file(other), tmp_path / "sd.safetensors")
    opened = Diffusion.load(str(path), device="cpu")
    assert_same(opened, Diffusion(other))
    opened.release()
    torch.testing.assert_close(look(opened), look(Diffusion(other)))
    assert len(opened.base_sha256) == 64


def test_a_single_file_checkpoint_without_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = strangers.save(strangers.single_file(tiny("sd1")), tmp_path / "sd.safetensors")
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *arguments: None)
    with pytest.raises(SourceNotFound, match="no configuration; put it into the folder of a pipeline of its kind"):
        Diffusion.load(str(path))
    half = {name: tensor for name, tensor in strangers.single_file(tiny("sd1")).items() if "middle" not in name}
    tiny("sd1").save_pretrained(tmp_path / "base")
    with pytest.raises(SourceNotFound):
        Diffusion.load(str(strangers.save(half, tmp_path / "base" / "half.safetensors")), device="cpu")


# ---- our own exports for other tools -----------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_kohya_and_bare_unet_are_read_by_others_and_by_us(family: str, tmp_path: Path) -> None:
    adapter = model(family)
    generator, changes = torch.Generator().manual_seed(3), {}
    for name, layer in adapter.prompt_layers().items():
        up = torch.randn(layer.out_features, 2, generator=generator)
        changes[name] = LowRank(up, 0.5 * torch.randn(2, layer.in_features, generator=generator))
    adapter.apply_low_rank(changes)
    adapter.export(tmp_path / "kohya", "kohya")
    plain = tiny(family)
    plain.load_lora_weights(tmp_path / "kohya", weight_name=KOHYA_FILE)
    torch.testing.assert_close(look(Diffusion(plain)), look(adapter), atol=2e-3, rtol=0)
    adapter.export(tmp_path / "bare", "unet")
    bare = tiny(family)
    bare.unet.load_state_dict(load_file(tmp_path / "bare" / "unet.safetensors"))
    torch.testing.assert_close(look(Diffusion(bare)), look(adapter))
    for kind in ("kohya", "bare"):
        again = model(family)
        assert again.load_patch(tmp_path / kind) in ("kohya", "unet")
        torch.testing.assert_close(look(again), look(adapter), atol=1e-4, rtol=0)


def test_a_transformer_has_no_kohya_names(tmp_path: Path) -> None:
    with pytest.raises(NeedNotMet, match="export a transformer as 'lora'"):
        export_kohya(model("flux"), tmp_path, 4)


# ---- what is refused ---------------------------------------------------------------------------------------------


def good() -> dict[str, Tensor]:
    return as_kohya(strangers.lora(tiny("sd1"), FACTORS))[0]


def changed(**changes: Any) -> dict[str, Tensor]:
    """A good LoRA with some tensors replaced, or dropped where None."""
    tensors = good() | changes
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


K = f"lora_unet_{TO_K.replace('.', '_')}"
REFUSED: dict[str, tuple[Callable[[], dict[str, Tensor]], str]] = {
    "empty": (dict, "no tensors; accepted are LoRAs of diffusers, PEFT and kohya"),
    "nan": (lambda: changed(**{f"{K}.lora_up.weight": torch.full((8, 2), float("nan"))}), "NaN or infinite values"),
    "nan in alpha": (lambda: changed(**{f"{K}.alpha": torch.tensor(float("inf"))}), "NaN or infinite values"),
    "half its layers": (
        lambda: changed(**strangers.kohya("lora_unet_down_blocks_7_to_k", torch.ones(2, 3), torch.ones(3, 2), 1.0)),
        "1 of 4 layers or tensors have no place in this pipeline, such as 'lora_unet_down_blocks_7_to_k'",
    ),
    "another architecture": (
        lambda: {f"transformer.blocks.0.to_k.lora_{letter}.weight": torch.ones(2, 2) for letter in "AB"},
        "none of 1 layers or tensors have a place in this pipeline",
    ),
    "wrong shape": (lambda: changed(**{f"{K}.lora_up.weight": torch.ones(9, 2)}), "another architecture"),
    "no pair": (lambda: changed(**{f"{K}.lora_up.weight": torch.ones(8, 3)}), "are no pair"),
    "half a pair": (lambda: changed(**{f"{K}.lora_up.weight": None}), "lacks one of its two factors"),
    "flat factors": (lambda: changed(**{f"{K}.lora_up.weight": torch.ones(8)}), "are no pair"),
    "rank 0": (
        lambda: changed(**{f"{K}.lora_up.weight": torch.ones(8, 0), f"{K}.lora_down.weight": torch.ones(0, 32)}),
        "are no pair",
    ),
    "alpha of many": (lambda: changed(**{f"{K}.alpha": torch.ones(3)}), "it is one number"),
    "alpha alone": (lambda: changed(**{"lora_unet_x.alpha": torch.tensor(1.0)}), "has an alpha and no factors"),
    "whole numbers": (lambda: changed(**{f"{K}.lora_up.weight": torch.ones(8, 2).long()}), "floating point is"),
    "a LoHa": (lambda: {f"{K}.hada_w1_a": torch.ones(8, 2), f"{K}.hada_w1_b": torch.ones(2, 8)}, "a LoHa"),
    "a LoKr": (lambda: {f"{K}.lokr_w1": torch.ones(8, 2)}, "a LoKr"),
    "a DoRA": (lambda: changed(**{f"{K}.dora_scale": torch.ones(8)}), "a DoRA"),
    "twice": (
        lambda: changed(**{f"{K}.lora_A.weight": torch.ones(2, 32), f"{K}.lora_B.weight": torch.ones(8, 2)}),
        "is there twice",
    ),
    "an unknown tensor": (lambda: {"conv_in.bias": torch.ones(8), "x.weight": torch.ones(1)}, "1 of 2 layers"),
    "an unet of another width": (lambda: {"conv_in.weight": torch.ones(320, 4, 3, 3)}, "another architecture"),
    "a tensor twice": (
        lambda: {"conv_in.bias": torch.ones(8), "unet.conv_in.bias": torch.ones(8)},
        "unet.conv_in.bias is there twice",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_in_one_line_and_changes_nothing(case: str, tmp_path: Path) -> None:
    tensors, complaint = REFUSED[case]
    path, adapter = strangers.save(tensors(), tmp_path / "a.safetensors"), model()
    before = state(adapter)
    with pytest.raises(InputError) as refused:
        adapter.load_patch(path)
    assert complaint in str(refused.value) and "\n" not in str(refused.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in state(adapter).items())


def test_names_that_fit_two_parts_are_ambiguous(tmp_path: Path) -> None:
    tensors = {f"text_model.{n}": t for n, t in tiny("sdxl").text_encoder.state_dict().items()}
    with pytest.raises(MismatchError, match="fits text_encoder and text_encoder_2 alike"):
        model("sdxl").load_patch(strangers.save(tensors, tmp_path / "a.safetensors"))


@pytest.mark.parametrize("name", ["esd.pt", "diffusers-nudity.bin", "v1-4.ckpt"])
def test_pickles_are_refused_with_the_way_to_convert_them(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x80\x02}q\x00.")
    for source in (tmp_path / name, tmp_path):
        with pytest.raises(DataError, match=r"pickles can run code .*weights_only=True.*save_file") as refused:
            model().load_patch(source)
        assert "\n" not in str(refused.value)
    with pytest.raises(DataError, match="pickles can run code"):
        Diffusion.load(str(tmp_path / name))


def test_several_files_are_not_guessed_between(tmp_path: Path) -> None:
    for name in ("a", "b"):
        strangers.save(good(), tmp_path / f"{name}.safetensors")
    with pytest.raises(DataError, match=r"2 files \(a.safetensors, b.safetensors\); name one of them"):
        model().load_patch(tmp_path)
    (tmp_path / "b.safetensors").rename(tmp_path / "a.fp16.safetensors")
    assert model().load_patch(tmp_path) == "lora"


@pytest.mark.parametrize(
    "settings", ['{"lora_alpha": "much"}', '{"lora_alpha": NaN}', '{"lora_alpha": null}', "[]", "{"]
)
def test_a_configuration_of_peft_that_says_nothing(settings: str, tmp_path: Path) -> None:
    factors = strangers.lora(tiny("sd1"), {"unet": [TO_K]})
    tensors = {name.removeprefix("unet."): t for name, t in as_diffusers(factors)[0].items()}
    strangers.save(tensors, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(settings)
    with pytest.raises(InputError, match=r"lora_alpha|not a JSON object"):
        model().load_patch(tmp_path)
