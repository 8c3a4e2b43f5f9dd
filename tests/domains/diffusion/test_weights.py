"""What is exported is what was changed, and other tools read it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from peft import LoraConfig, get_peft_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.identity import Fingerprint
from genunlearn.domains.diffusion.patches import DELTA_FILE, LORA_FILE, read_header
from genunlearn.domains.diffusion.sampling import Sampling
from genunlearn.errors import DataError, MismatchError, NeedNotMet, OutputExists, SourceNotFound
from genunlearn.ops.linear_edits import LowRank
from tests.tiny_pipelines import FAMILIES, MAX_TOKENS, tiny

FEW = Sampling(steps=3, guidance=3.0)


def model(family: str = "sd1", seed: int = 0) -> Diffusion:
    return Diffusion(tiny(family, seed), text_length=MAX_TOKENS)


def look(adapter: Diffusion) -> torch.Tensor:
    return adapter.images(["a digit seven", "a red cat"], [1, 2], FEW)


def edit(adapter: Diffusion) -> None:
    """A random change of rank 2 of every layer that reads the prompt."""
    generator = torch.Generator().manual_seed(3)
    changes = {}
    for name, layer in adapter.prompt_layers().items():
        up = torch.randn(layer.out_features, 2, generator=generator)
        changes[name] = LowRank(up, 0.5 * torch.randn(2, layer.in_features, generator=generator))
    adapter.apply_low_rank(changes)


def train_lora(adapter: Diffusion, pattern: str = "x") -> None:
    """A LoRA with weights other than its initial ones, on text-side layers and convolutions."""
    layers = list(adapter.layer_names(pattern))
    torch.manual_seed(0)
    config = LoraConfig(r=2, lora_alpha=6, target_modules=layers)
    adapter.module = get_peft_model(adapter.module, config)
    for name, parameter in adapter.module.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.3)


@pytest.mark.parametrize("how", [edit, train_lora])
@pytest.mark.parametrize("family", FAMILIES)
def test_plain_diffusers_opens_an_exported_lora(family: str, how: Any, tmp_path: Path) -> None:
    adapter = model(family)
    before = look(adapter)
    how(adapter)
    after = look(adapter)
    assert (after - before).abs().max() > 0.01, "a change that nobody sees would prove nothing"
    adapter.export(tmp_path, "lora")
    plain = tiny(family)
    plain.load_lora_weights(tmp_path)
    torch.testing.assert_close(look(Diffusion(plain, text_length=MAX_TOKENS)), after, atol=2e-3, rtol=0)


def test_a_lora_on_convolutions(tmp_path: Path) -> None:
    adapter = model()
    train_lora(adapter, r"mid_block.*conv\d\.weight|mid_block.*to_q\.weight")
    after = look(adapter)
    adapter.export(tmp_path, "lora")
    plain = tiny("sd1")
    plain.load_lora_weights(tmp_path)
    torch.testing.assert_close(look(Diffusion(plain)), after, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["lora", "delta"])
@pytest.mark.parametrize("family", ["sd1", "flux"])
def test_a_patch_comes_back(family: str, kind: str, tmp_path: Path) -> None:
    adapter = model(family)
    edit(adapter)
    adapter.export(tmp_path, kind)
    fresh = model(family)
    assert fresh.load_patch(tmp_path) == kind
    torch.testing.assert_close(look(fresh), look(adapter), atol=1e-4, rtol=0)


def test_a_delta_holds_the_changed_tensors_and_no_others(tmp_path: Path) -> None:
    adapter = model()
    names = adapter.parameter_names("strict")
    for name, parameter in adapter.network.named_parameters():
        parameter.requires_grad_(name in names)
    adapter.export(tmp_path, "delta")
    assert set(load_file(tmp_path / DELTA_FILE)) == {f"unet.{name}" for name in names}


def moved(folder: Path, pattern: str) -> Diffusion:
    """A model from a folder whose weights of `pattern` were trained themselves."""
    tiny("sd1").save_pretrained(folder)
    adapter = Diffusion.load(str(folder), device="cpu")
    names, generator = adapter.parameter_names(pattern), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in adapter.network.named_parameters():
            if parameter.requires_grad_(name in names).requires_grad:
                parameter += 0.3 * parameter.std() * torch.randn(parameter.shape, generator=generator)
    return adapter


def test_trained_weights_are_a_lora_of_full_rank(tmp_path: Path) -> None:
    adapter = moved(tmp_path / "base", "strict")
    after = look(adapter)
    path = adapter.export(tmp_path / "out", rank=64)
    assert read_header(path)["residual"] < 1e-5
    plain = tiny("sd1")
    plain.load_lora_weights(path.parent)
    torch.testing.assert_close(look(Diffusion(plain)), after, atol=1e-3, rtol=0)


def test_a_lora_of_smaller_rank_says_what_it_misses(tmp_path: Path) -> None:
    adapter = moved(tmp_path / "base", "x")
    path = adapter.export(tmp_path / "out", rank=2)
    own, base = adapter.network.state_dict(), tiny("sd1").unet.state_dict()
    factors, missed, total = load_file(path), 0.0, 0.0
    for name in adapter.parameter_names("x"):
        delta = own[name] - base[name]
        total += float(delta.square().sum())
        layer = f"unet.{name.removesuffix('.weight')}"
        if f"{layer}.lora_A.weight" in factors:
            delta = delta - factors[f"{layer}.lora_B.weight"] @ factors[f"{layer}.lora_A.weight"]
        missed += float(delta.square().sum())
    assert read_header(path)["residual"] == pytest.approx((missed / total) ** 0.5, rel=1e-4)
    assert 0.1 < (missed / total) ** 0.5 < 1


@pytest.mark.parametrize("kind", ["delta", "pipeline"])
def test_a_merged_lora_is_exported_like_any_change(kind: str, tmp_path: Path) -> None:
    adapter = model()
    train_lora(adapter)
    after = look(adapter)
    adapter.merge()
    torch.testing.assert_close(look(adapter), after, atol=1e-4, rtol=0)
    adapter.export(tmp_path / "out", kind)
    if kind == "delta":
        again = model()
        again.load_patch(tmp_path / "out")
    else:
        again = Diffusion.load(str(tmp_path / "out"), device="cpu")
    torch.testing.assert_close(look(again), after, atol=1e-4, rtol=0)


def test_an_edit_under_a_trained_lora_is_exported_with_it(tmp_path: Path) -> None:
    adapter = model()
    train_lora(adapter)
    edit(adapter)
    after = look(adapter)
    adapter.export(tmp_path)
    plain = tiny("sd1")
    plain.load_lora_weights(tmp_path)
    torch.testing.assert_close(look(Diffusion(plain)), after, atol=1e-3, rtol=0)


def test_a_lora_that_was_never_trained_is_in_nobody_s_way(tmp_path: Path) -> None:
    adapter = model()
    adapter.module = get_peft_model(adapter.module, LoraConfig(r=2, target_modules=["to_k", "to_q"]))
    edit(adapter)
    after = look(adapter)
    for kind in ("lora", "delta"):
        adapter.export(tmp_path / kind, kind)
        fresh = model()
        fresh.load_patch(tmp_path / kind)
        torch.testing.assert_close(look(fresh), after, atol=1e-3, rtol=0)
    adapter.export(tmp_path / "whole", "pipeline")
    torch.testing.assert_close(look(Diffusion.load(str(tmp_path / "whole"), device="cpu")), after)


def test_two_edits_are_one_lora(tmp_path: Path) -> None:
    adapter = model()
    edit(adapter)
    edit(adapter)
    adapter.export(tmp_path)
    factors = load_file(tmp_path / LORA_FILE)
    assert {t.shape[0] for name, t in factors.items() if "lora_A" in name} == {4}
    plain = tiny("sd1")
    plain.load_lora_weights(tmp_path)
    torch.testing.assert_close(look(Diffusion(plain)), look(adapter), atol=1e-4, rtol=0)


def test_the_whole_pipeline(tmp_path: Path) -> None:
    adapter = model()
    edit(adapter)
    adapter.export(tmp_path / "whole", "pipeline")
    again = DiffusionPipeline.from_pretrained(tmp_path / "whole", safety_checker=None)
    again.set_progress_bar_config(disable=True)
    torch.testing.assert_close(look(Diffusion(again)), look(adapter))


def test_a_pipeline_gets_back_the_parts_that_were_not_loaded(tmp_path: Path) -> None:
    tiny("sd1").save_pretrained(tmp_path / "base")
    (tmp_path / "base" / "safety_checker").mkdir()
    (tmp_path / "base" / "safety_checker" / "config.json").write_text("{}")
    index = tmp_path / "base" / "model_index.json"
    entries = json.loads(index.read_text())
    entries["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    index.write_text(json.dumps(entries))
    adapter = Diffusion.load(str(tmp_path / "base"), device="cpu")
    edit(adapter)
    adapter.export(tmp_path / "out", "pipeline")
    assert (tmp_path / "out" / "safety_checker" / "config.json").is_file()
    written = json.loads((tmp_path / "out" / "model_index.json").read_text())
    assert written["safety_checker"] == entries["safety_checker"]


# ---- what is refused -----------------------------------------------------------------------------------


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    adapter = model()
    edit(adapter)
    for kind in ("lora", "delta"):
        adapter.export(tmp_path, kind)
        with pytest.raises(OutputExists, match="exists: give another place"):
            adapter.export(tmp_path, kind)
    with pytest.raises(OutputExists, match="is not empty"):
        adapter.export(tmp_path, "pipeline")


def test_a_lora_of_trained_weights_needs_the_base(tmp_path: Path) -> None:
    adapter = model()
    adapter.network.requires_grad_(True)
    with pytest.raises(NeedNotMet, match="needs the base to compare with: load the model from a folder"):
        adapter.export(tmp_path, "lora")


def test_a_lora_is_neither_a_delta_nor_a_pipeline_before_it_is_merged(tmp_path: Path) -> None:
    adapter = model()
    train_lora(adapter)
    with pytest.raises(NeedNotMet, match="merge it first"):
        adapter.export(tmp_path, "delta")
    with pytest.raises(NeedNotMet, match="merge it before"):
        adapter.export(tmp_path, "pipeline")
    with pytest.raises(NeedNotMet, match="trains no LoRA"):
        model().merge()


def test_no_change_no_export(tmp_path: Path) -> None:
    with pytest.raises(NeedNotMet, match="nothing was trained or edited"):
        model().export(tmp_path, "delta")
    with pytest.raises(DataError, match="export = 'zip': use lora, delta, kohya, unet, guidance or pipeline"):
        model().export(tmp_path, "zip")


@pytest.mark.parametrize("kind", ["lora", "delta"])
def test_a_patch_for_another_base(kind: str, tmp_path: Path) -> None:
    adapter = model()
    edit(adapter)
    adapter.export(tmp_path, kind)
    other = model(seed=1)
    before = look(other)
    with pytest.raises(MismatchError, match="made for other base weights"):
        other.load_patch(tmp_path)
    with pytest.raises(MismatchError, match="made for a StableDiffusionPipeline, but this model is a FluxPipeline"):
        model("flux").load_patch(tmp_path)
    assert torch.equal(look(other), before)


def test_a_base_in_half_precision_is_the_same_base(tmp_path: Path) -> None:
    adapter = model()
    edit(adapter)
    adapter.export(tmp_path)
    half = tiny("sd1")
    half.unet.to(torch.bfloat16)
    half.text_encoder.to(torch.bfloat16)
    assert Diffusion(half).load_patch(tmp_path) == "lora"


def test_the_fingerprint_sees_training_but_not_a_lora_beside_it() -> None:
    adapter = model()
    before = Fingerprint.of(adapter.network)
    train_lora(adapter)
    assert Fingerprint.of(adapter.network).sha256 == before.sha256
    with torch.no_grad():
        for parameter in adapter.network.parameters():
            parameter.mul_(1.1)
    assert not Fingerprint.of(adapter.network).matches(before.brief())


def test_a_lora_from_elsewhere_is_taken_as_it_is(tmp_path: Path) -> None:
    adapter = model()
    edit(adapter)
    adapter.export(tmp_path)
    save_file(load_file(tmp_path / LORA_FILE), tmp_path / "other.safetensors", metadata={"format": "pt"})
    fresh = model()
    fresh.load_patch(tmp_path / "other.safetensors")
    torch.testing.assert_close(look(fresh), look(adapter), atol=1e-4, rtol=0)


def test_patches_that_are_not_there_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="no patch at"):
        model().load_patch(tmp_path)
    (tmp_path / LORA_FILE).write_bytes(b"nonsense")
    with pytest.raises(DataError, match="not a safetensors file"):
        model().load_patch(tmp_path)


def test_the_header_says_what_the_patch_is_for(tmp_path: Path) -> None:
    adapter = model()
    edit(adapter)
    with safe_open(adapter.export(tmp_path), "pt") as file:
        header = json.loads(file.metadata()["genunlearn"])
    assert (header["kind"], header["pipeline"]) == ("lora", "StableDiffusionPipeline")
    assert len(header["base"]) <= 128
