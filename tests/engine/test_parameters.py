"""Which weights are trained, and the patch that they make."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from genunlearn.config import ParametersConfig, TrainConfig
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.domains.pretrained import origin_of
from genunlearn.engine import parameters
from genunlearn.engine.trainer import Trainer
from genunlearn.errors import MismatchError, SourceNotFound
from genunlearn.methods.general.grad_diff import GradDiff
from tests.tiny_models import build

LORA = ParametersConfig(rank=4, alpha=8)


@pytest.fixture
def patched(world, tmp_path):
    """A trained model, its patch folder and the patch's hash."""
    model = world.open()
    Trainer(model, TrainConfig(max_steps=3, learning_rate=1e-2), LORA, seed=0)(GradDiff(), world.splits)
    return model, tmp_path / "patch", parameters.save_patch(model, tmp_path / "patch")


def test_lora_sits_on_all_linear_layers_but_the_output(tiny):
    model = tiny("llama")
    parameters.attach(model, LORA, seed=0)
    names = parameters.trainable(model.module)
    layers = {name.split(".lora_")[0].rpartition(".")[2] for name in names}
    assert layers == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    # rank x (in + out) for each layer of 2 blocks: q, o 32 + 32; k, v 32 + 16; gate, up, down 32 + 64.
    assert parameters.count(model.module)["trainable"] == 2 * 4 * (2 * 64 + 2 * 48 + 3 * 96)


def test_counts_of_full_weights(tiny):
    model = tiny("qwen2")
    total = sum(weight.numel() for weight in model.module.parameters())
    parameters.attach(model, ParametersConfig(kind="full"), seed=0)
    assert parameters.count(model.module) == {"trainable": total, "total": total}
    assert len(parameters.trainable(model.module)) == len(list(model.module.parameters()))


@pytest.mark.parametrize("targets", [("q_proj", "v_proj"), r".*\.(q|v)_proj"])
def test_chosen_layers(tiny, targets):
    model = tiny("mistral")
    parameters.attach(model, ParametersConfig(rank=2, target_modules=targets), seed=0)
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in parameters.trainable(model.module)} == {
        "q_proj",
        "v_proj",
    }


@pytest.mark.parametrize("targets", ["q_proj", "nothing_here", ("nope", "neither")])
def test_lora_that_matches_no_layer_is_refused(tiny, targets):
    model = tiny("llama")
    with pytest.raises(MismatchError) as caught:
        parameters.attach(model, ParametersConfig(target_modules=targets), seed=0)
    message = str(caught.value)
    assert message.startswith(f"parameters.target_modules = {targets!r} matches no layer of the model: use all-linear")
    assert "\n" not in message


def test_the_seed_decides_how_a_lora_begins(tiny):
    starts = []
    for seed in (0, 0, 1):
        model = tiny("llama")
        torch.rand(1)
        parameters.attach(model, LORA, seed=seed)
        weights = parameters.trainable(model.module)
        starts.append(torch.cat([weight.detach().flatten() for name, weight in weights.items() if "lora_A" in name]))
    assert torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])


# ---- the patch ------------------------------------------------------------------------------------------------


def test_plain_peft_loads_the_patch(patched, world):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model, folder, _ = patched
    base = AutoModelForCausalLM.from_pretrained(model.network.base_model.model.name_or_path)
    plain = PeftModel.from_pretrained(base, folder).eval()
    examples = model.collate(world.splits.forget)
    ids, mask = examples["input_ids"], examples["attention_mask"]
    with torch.no_grad():
        expected = model.module(input_ids=ids, attention_mask=mask).logits
        assert torch.equal(plain(input_ids=ids, attention_mask=mask).logits, expected)
        with plain.disable_adapter():
            assert not torch.allclose(plain(input_ids=ids, attention_mask=mask).logits, expected, atol=1e-2)


def test_the_patch_says_what_it_was_made_for(patched):
    model, folder, sha256 = patched
    note = json.loads((folder / "genunlearn.json").read_text())
    source = model.network.base_model.model.name_or_path
    base = {"source": source, "commit": None, "dtype": "float32", "quantize": "none", "device": "cpu"}
    assert note == {"base_sha256": model.base_sha256, "patch_sha256": sha256, "base": base}
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["task_type"]) == (4, 8, "CAUSAL_LM")
    assert config["target_modules"] == sorted(config["target_modules"])
    assert config["base_model_name_or_path"] == model.network.base_model.model.name_or_path


def test_our_own_loading_gives_the_same_answers(patched, world):
    model, folder, _ = patched
    fresh = world.open()
    parameters.load_patch(fresh, folder)
    examples = model.collate(world.splits.forget)
    with torch.no_grad():
        assert torch.equal(fresh.output_logits(examples), model.output_logits(examples))


def test_a_patch_for_another_base_is_refused(patched, tmp_path):
    _, folder, _ = patched
    other = LanguageModel.load(str(build("llama", tmp_path / "other", seed=9)), device="cpu")
    with pytest.raises(
        MismatchError, match=rf"made for base [0-9a-f]{{12}}, but this model is {other.base_sha256[:12]}"
    ):
        parameters.load_patch(other, folder)


def test_a_foreign_patch_that_does_not_fit_is_refused(patched, tmp_path):
    _, folder, _ = patched
    (folder / "genunlearn.json").unlink()
    other = LanguageModel.load(str(build("llama", tmp_path / "other", width=64)), device="cpu")
    with pytest.raises(MismatchError, match="does not fit this model") as caught:
        parameters.load_patch(other, folder)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_patch_is_refused(tiny, tmp_path):
    with pytest.raises(SourceNotFound, match=r"no patch at .*: a patch folder holds adapter_config\.json"):
        parameters.load_patch(tiny("llama"), tmp_path)


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json", "genunlearn.json"])
def test_a_half_written_patch_is_refused(patched, world, tmp_path, name):
    _, folder, _ = patched
    broken = shutil.copytree(folder, tmp_path / "broken")
    (broken / name).write_bytes((broken / name).read_bytes()[:-20])
    with pytest.raises(SourceNotFound, match=f"{name}: half-written or damaged"):
        parameters.load_patch(world.open(), broken)


# ---- patches that are not what they say -------------------------------------------------------------------------


def change_tensors(folder: Path, change: Callable[[str, Any], Any]) -> None:
    """Write the tensors of a patch anew, each as `change` gives it, without those for which it gives None."""
    path = folder / "adapter_model.safetensors"
    changed = {name: change(name, tensor) for name, tensor in load_file(path).items()}
    save_file({name: tensor for name, tensor in changed.items() if tensor is not None}, path)


def change_config(folder: Path, **entries: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def without_one(name: str, tensor: Any) -> Any:
    return None if "layers.1.mlp.up_proj" in name else tensor


CHANGED = {
    "tensors are missing": lambda folder: change_tensors(folder, without_one),
    "tensors are zeroed": lambda folder: change_tensors(folder, lambda name, tensor: torch.zeros_like(tensor)),
    "tensors are scaled": lambda folder: change_tensors(folder, lambda name, tensor: 0.5 * tensor),
    "lora_alpha is another": lambda folder: change_config(folder, lora_alpha=1),
}


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED.keys())
def test_a_patch_that_was_changed_after_it_was_written_is_refused(patched, world, change):
    _, folder, sha256 = patched
    change(folder)
    fresh = world.open()
    before = fresh.module
    with pytest.raises(MismatchError, match=rf"not as it was written: .* genunlearn\.json says {sha256[:12]}"):
        parameters.load_patch(fresh, folder)
    assert fresh.module is before
    assert not parameters.load_patch(fresh, folder, force=True).is_verified


def test_a_patch_tells_its_base_and_whether_it_is_as_it_was_written(patched, world):
    model, folder, _ = patched
    source = model.network.base_model.model.name_or_path
    assert parameters.load_patch(world.open(), folder) == parameters.Patch(source, is_verified=True)
    (folder / "genunlearn.json").unlink()
    assert parameters.load_patch(world.open(), folder) == parameters.Patch(source, is_verified=False)


NOT_WHOLE = {
    "half of it": (without_one, r"it lacks 2 of 28 tensors, such as base_model\.model\.model\.layers\.1\.mlp\.up_proj"),
    "no change": (lambda name, tensor: tensor * ("lora_A" in name), "all its lora_B are zero"),
    "not finite": (lambda name, tensor: tensor / 0, "holds values that are not finite"),
}


@pytest.mark.parametrize(("change", "reason"), NOT_WHOLE.values(), ids=NOT_WHOLE.keys())
def test_a_patch_without_a_note_is_looked_through_and_says_its_base(patched, world, change, reason):
    model, folder, _ = patched
    (folder / "genunlearn.json").unlink()
    change_tensors(folder, change)
    fresh, examples = world.open(), model.collate(world.splits.forget)
    with torch.no_grad():
        before = fresh.output_logits(examples)
        with pytest.raises(
            MismatchError, match=rf"{reason}.*\(it names {model.network.base_model.model.name_or_path}\)"
        ):
            parameters.load_patch(fresh, folder)
        assert torch.equal(fresh.output_logits(examples), before)


def test_a_foreign_patch_for_more_layers_is_refused(patched, world):
    _, folder, _ = patched
    (folder / "genunlearn.json").unlink()
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    save_file(
        tensors | {name.replace("layers.1", "layers.7"): tensor.clone() for name, tensor in tensors.items()}, path
    )
    with pytest.raises(MismatchError, match=r"14 of its tensors belong to no layer of this model, such as .*layers\.7"):
        parameters.load_patch(world.open(), folder)


ODD = {
    "another kind": ({"peft_type": "PROMPT_TUNING"}, "peft_type = 'PROMPT_TUNING': a patch is a plain LoRA"),
    "a list as kind": ({"peft_type": []}, "a patch is a plain LoRA"),
    "a module to import": ({"megatron_config": {}, "megatron_core": "evil"}, ""),
    "a module with settings": ({"megatron_config": {"a": 1}, "megatron_core": "evil"}, "a patch is a plain LoRA"),
    "a rank without end": ({"r": 10**12}, r"r = 1000000000000 in adapter_config\.json is not the rank of its weights"),
    "a rank in words": ({"r": "four"}, "is not the rank"),
    "another rank": ({"r": 5}, "does not fit this model"),
    "a rank for one layer": ({"rank_pattern": {"q_proj": 10**12}}, "is not the rank"),
    "a strength in words": ({"lora_alpha": "much"}, "does not fit this model"),
    "no regular expression": ({"target_modules": "("}, "does not fit this model"),
}


@pytest.mark.parametrize(("entries", "reason"), ODD.values(), ids=ODD.keys())
def test_an_adapter_configuration_of_a_stranger(patched, world, entries, reason):
    _, folder, _ = patched
    (folder / "genunlearn.json").unlink()
    change_config(folder, **entries)
    if not reason:  # empty settings ask for nothing
        parameters.load_patch(world.open(), folder)
        return
    with pytest.raises(MismatchError, match=reason) as caught:
        parameters.load_patch(world.open(), folder)
    assert "\n" not in str(caught.value)


def test_a_pickle_beside_a_stray_weight_file_is_not_opened(patched, world):
    _, folder, _ = patched
    weights = folder / "adapter_model.safetensors"
    torch.save(load_file(weights), folder / "adapter_model.bin")
    weights.rename(folder / "other.safetensors")
    with pytest.raises(
        SourceNotFound, match=r"adapter_model\.safetensors: no such file; pickle weights \(\.bin\) are not read"
    ):
        parameters.load_patch(world.open(), folder)


def test_a_patch_for_a_model_that_was_given_by_a_relative_path_names_a_whole_one(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tiny_folder("llama").parent)
    model = LanguageModel.load("./llama", device="cpu")
    parameters.attach(model, LORA, seed=0)
    parameters.save_patch(model, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tiny_folder("llama").resolve())


def test_a_patch_names_the_commit_of_a_hub_model_and_the_4_bit_base(tmp_path):
    folder = tmp_path / "models--owner--name" / "snapshots" / "0a1b2c"
    made = origin_of("owner/name", folder, dtype="bfloat16", quantize="nf4", device=torch.device("cpu"))
    assert made == {
        "source": "owner/name",
        "commit": "0a1b2c",
        "dtype": "bfloat16",
        "quantize": "nf4",
        "device": "cpu",
    }


# ---- layers that are not there ------------------------------------------------------------------------------------


def test_one_dead_name_among_the_layers_is_refused(tiny):
    with pytest.raises(MismatchError, match=r"parameters\.target_modules: 'foo_proj' matches no layer of the model"):
        parameters.attach(tiny("llama"), ParametersConfig(target_modules=("q_proj", "foo_proj")), seed=0)


@pytest.mark.parametrize("targets", ["all-linear", ("in_proj", "out_proj")])
def test_why_mamba_takes_no_lora_is_said(tiny, targets):
    from transformers import MambaConfig, MambaForCausalLM

    network = MambaForCausalLM(MambaConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, state_size=4))
    model = LanguageModel(network, tiny("llama").tokenizer)
    with pytest.raises(
        MismatchError, match=r"cannot carry a LoRA there \(Module 'out_proj' is incompatible with Mamba"
    ):
        parameters.attach(model, ParametersConfig(target_modules=targets), seed=0)


def test_a_module_that_is_no_layer_is_refused_in_one_line(tiny):
    with pytest.raises(MismatchError, match="cannot carry a LoRA there") as caught:
        parameters.attach(tiny("llama"), ParametersConfig(target_modules=("layers",)), seed=0)
    assert "\n" not in str(caught.value)


def test_a_whole_model_is_saved_with_what_was_trained(patched, world, tmp_path):
    model, _, _ = patched
    examples = model.collate(world.splits.forget)
    with torch.no_grad():
        expected = model.output_logits(examples)
    parameters.save_whole(model, tmp_path / "model")
    whole = LanguageModel.load(str(tmp_path / "model"), device="cpu")
    with torch.no_grad():
        assert torch.allclose(whole.output_logits(examples), expected, atol=1e-4)
    assert whole.base_sha256 != model.base_sha256
