"""Which weights are trained, and the patch that they make."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from genunlearn.config import ParametersConfig, TrainConfig
from genunlearn.domains.lm.adapter import LanguageModel
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
    assert note == {"base_sha256": model.base_sha256, "patch_sha256": sha256}
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
