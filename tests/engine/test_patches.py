"""Patches put on and taken off, laid into one, and compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from genunlearn.config import ParametersConfig
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.engine import parameters, patches
from genunlearn.errors import MismatchError

IDS = torch.arange(2, 12).unsqueeze(0)


@pytest.fixture
def make(tiny, tmp_path: Path) -> Callable[..., Path]:
    """Write a patch on the tiny model whose lora_B are drawn by a seed."""

    def make(name: str, *, seed: int = 1, model: str = "llama", **settings: object) -> Path:
        loaded = tiny(model)
        parameters.attach(loaded, ParametersConfig(**{"rank": 2, "alpha": 4, **settings}), seed=seed)
        torch.manual_seed(seed)
        for parameter in parameters.trainable(loaded.module).values():
            torch.nn.init.normal_(parameter.data, std=0.2)
        parameters.save_patch(loaded, tmp_path / name)
        return tmp_path / name

    return make


@torch.no_grad()
def logits(model: LanguageModel) -> torch.Tensor:
    return model.module(input_ids=IDS).logits


def weights(model: LanguageModel) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.network.state_dict().items()}


def test_a_patch_taken_off_leaves_the_base_bit_for_bit(tiny, make) -> None:
    model, folders = tiny("llama"), [make("one"), make("two", seed=2)]
    before, said = weights(model), logits(model)
    patches.put_on(model, folders)
    assert not torch.allclose(logits(model), said, atol=1e-2)
    patches.take_off(model)
    assert weights(model).keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(model).items())


def test_merged_weights_answer_as_the_patched_ones(tiny, make, tmp_path) -> None:
    model = tiny("llama")
    patches.put_on(model, [make("one"), make("two", seed=2, rank=3, target_modules=("q_proj",))])
    patched = logits(model)
    parameters.save_whole(model, tmp_path / "merged")
    merged = LanguageModel.load(str(tmp_path / "merged"), device="cpu")
    assert (logits(merged) - patched).abs().max() < 1e-5


def test_several_patches_act_together_and_as_one(tiny, make, tmp_path) -> None:
    # Other ranks, strengths and layers in each.
    folders = [make("one"), make("two", seed=2, rank=3, alpha=9, target_modules=("q_proj", "up_proj"))]
    together = tiny("llama")
    patches.put_on(together, folders)
    base = tiny("llama")
    patches.stack(base, folders, tmp_path / "both")
    stacked = tiny("llama")
    assert parameters.load_patch(stacked, tmp_path / "both").is_verified
    assert (logits(stacked) - logits(together)).abs().max() < 1e-5
    assert torch.equal(logits(base), logits(tiny("llama")))  # left without a patch
    note = parameters.read_note(tmp_path / "both")
    assert note["parts"] == [parameters.read_note(folder)["patch_sha256"] for folder in folders]


def test_the_sum_of_two_patches_is_what_each_adds(tiny, make) -> None:
    folders, deltas = [make("one"), make("two", seed=2)], []
    for chosen in ([folders[0]], [folders[1]], folders):
        model = tiny("llama")
        before = weights(model)
        patches.put_on(model, chosen)
        model.module = model.network.merge_and_unload()
        deltas.append({name: tensor - before[name] for name, tensor in weights(model).items()})
    for name, both in deltas[2].items():
        assert torch.allclose(both, deltas[0][name] + deltas[1][name], atol=1e-6)


def test_a_second_patch_that_is_refused_leaves_none(tiny, make) -> None:
    good, bad, model = make("one"), make("two", seed=2), tiny("llama")
    before = logits(model)
    tensors = load_file(bad / "adapter_model.safetensors")
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, bad / "adapter_model.safetensors")
    with pytest.raises(MismatchError, match=r"two: not as it was written: its hash is [0-9a-f]{12}"):
        patches.put_on(model, [good, bad])
    assert torch.equal(logits(model), before)
    with pytest.raises(MismatchError, match="not as it was written"):
        patches.difference(good, bad)


# ---- compared -----------------------------------------------------------------------------------------------------


def write(folder: Path, tensors: dict[str, torch.Tensor], **config: object) -> Path:
    """A patch from elsewhere, as files."""
    folder.mkdir()
    named = {f"base_model.model.{name}.weight": tensor.clone() for name, tensor in tensors.items()}
    save_file(named, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 1, **config}))
    return folder


def test_norms_worked_by_hand(tmp_path) -> None:
    # one: s = 2 / 1, B A = [3, 4]^T [1, 0]: norm 2 * 5 = 10. two: s = 1, B A = [0, 4]^T [1, 0]: norm 4.
    # Their difference is [6, 4]^T [1, 0]: norm sqrt(52). Layer b only in one: s = 2, norm 2 * 1 * 1.
    a = torch.tensor([[1.0, 0.0]])
    one = write(
        tmp_path / "one",
        {
            "a.lora_A": a,
            "a.lora_B": torch.tensor([[3.0], [4.0]]),
            "b.lora_A": a,
            "b.lora_B": torch.tensor([[1.0], [0.0]]),
        },
        lora_alpha=2,
    )
    two = write(tmp_path / "two", {"a.lora_A": a, "a.lora_B": torch.tensor([[0.0], [4.0]])}, lora_alpha=1)
    found = patches.difference(one, two)
    assert [(row.layer, row.ranks) for row in found.layers] == [("a", (1, 1)), ("b", (1, None))]
    assert found.layers[0].norms == pytest.approx((10, 4))
    assert found.layers[0].difference == pytest.approx(52**0.5)
    assert found.layers[1].difference == pytest.approx(2)
    assert found.norm == pytest.approx(56**0.5)
    assert (found.only(0), found.only(1), found.bases) == (("b",), (), ("", ""))


@pytest.mark.parametrize(("config", "norm"), [({"use_rslora": True}, 2**0.5), ({"alpha_pattern": {"a": 6}}, 3.0)])
def test_strengths_follow_the_configuration(tmp_path, config, norm) -> None:
    # A = B = the unit matrix of rank 2, so that |B A| = sqrt(2): times 2 / sqrt(2) for rsLoRA ...
    eye = torch.eye(2)
    one = write(tmp_path / "one", {"a.lora_A": eye, "a.lora_B": eye}, **{"r": 2, "lora_alpha": 2, **config})
    (row,) = patches.difference(one, one).layers
    assert row.norms[0] == pytest.approx(norm * 2**0.5)  # ... and times 6 / 2 for a strength of its own
    assert row.difference == pytest.approx(0, abs=1e-9)


def test_the_difference_is_that_of_the_merged_weights(tiny, make) -> None:
    folders = [make("one"), make("two", seed=2, rank=3)]
    merged = []
    for folder in folders:
        model = tiny("llama")
        patches.put_on(model, [folder])
        model.module = model.network.merge_and_unload()
        merged.append(weights(model))
    for row in patches.difference(*folders).layers:
        gap = merged[0][f"{row.layer}.weight"] - merged[1][f"{row.layer}.weight"]
        assert row.difference == pytest.approx(float(gap.norm()), rel=1e-4)


@pytest.mark.parametrize(
    ("tensors", "config", "reason"),
    [
        ({"a.lora_A": torch.eye(2), "a.lora_B": torch.eye(2)}, {"use_dora": True}, "only plain LoRAs"),
        ({"a.lora_A": torch.eye(2)}, {}, "the tensors of a are not those of a LoRA"),
        ({"a.b": torch.eye(2)}, {}, "holds no LoRA tensors"),
        ({"a.lora_A": torch.eye(2), "a.lora_B": torch.eye(2)}, {"lora_alpha": "x"}, "lora_alpha = 'x'"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path, tensors, config, reason) -> None:
    one = write(tmp_path / "one", tensors, **{"lora_alpha": 1, **config})
    with pytest.raises(MismatchError, match=reason):
        patches.difference(one, one)


def test_patches_of_models_of_other_shapes_are_refused(tmp_path) -> None:
    one, two = (
        write(tmp_path / name, {"a.lora_A": torch.ones(1, n), "a.lora_B": torch.ones(2, 1)}, lora_alpha=1)
        for name, n in (("one", 2), ("two", 3))
    )
    with pytest.raises(MismatchError, match="a has another shape in each"):
        patches.difference(one, two)
