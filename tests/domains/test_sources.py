"""Model folders: found or refused before anything loads, and identified by their weights."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import errors
from safetensors.torch import load_file, save_file

from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.domains.sources import (
    check_weights,
    fetch,
    hash_weights,
    refuse_quantized_full,
    resolve_folder,
    weight_files,
)
from genunlearn.errors import ConfigError, InputError, NeedNotMet, SourceNotFound

WEIGHTS = "model.safetensors"


@pytest.fixture
def folder(tiny_folder, tmp_path: Path) -> Path:
    """A copy of the tiny Llama, to be damaged."""
    return Path(shutil.copytree(tiny_folder("llama"), tmp_path / "model"))


def split_weights(folder: Path) -> None:
    """Cut the weights into two files with an index, as large models have them."""
    weights = load_file(folder / WEIGHTS)
    names = sorted(weights)
    shards = {"model-1-of-2.safetensors": names[::2], "model-2-of-2.safetensors": names[1::2]}
    for shard, part in shards.items():
        save_file({name: weights[name] for name in part}, folder / shard, metadata={"format": "pt"})
    (folder / WEIGHTS).unlink()
    places = {name: shard for shard, part in shards.items() for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


def cut(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])


def refused(folder: Path, kind: type[Exception] = SourceNotFound) -> str:
    with pytest.raises(kind) as caught:
        LanguageModel.load(str(folder), device="cpu")
    assert isinstance(caught.value, InputError)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- which folder ---------------------------------------------------------------------------------------------


def test_a_folder_is_taken_as_it_is(folder):
    assert resolve_folder(str(folder)) == folder


@pytest.mark.parametrize("source", ["./gone", "/gone/model", "gone", "a/b/c", "~/gone-for-good", "has space/model"])
def test_what_is_neither_folder_nor_hub_id_is_refused(source):
    message = f"no model at {source!r}: give a folder, a hub id (owner/name) or lab:NAME"
    with pytest.raises(SourceNotFound, match=re.escape(message)):
        resolve_folder(source)


def test_a_hub_id_that_cannot_be_had_says_why(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SourceNotFound) as caught:
        resolve_folder("nobody/no-such-model")
    assert str(caught.value).startswith("model 'nobody/no-such-model' is neither a folder nor to be had from the hub: ")
    assert "\n" not in str(caught.value)


# ---- incomplete folders ---------------------------------------------------------------------------------------


def test_a_folder_without_configuration(folder):
    (folder / "config.json").unlink()
    assert refused(folder) == f"{folder}: no config.json; this is not a model folder in the hub's format"


def test_a_folder_without_tokenizer(folder):
    (folder / "tokenizer.json").unlink()
    assert refused(folder) == f"{folder}: no tokenizer (tokenizer.json); save one beside the model"


def test_a_folder_without_weights(folder):
    (folder / WEIGHTS).unlink()
    assert refused(folder) == f"{folder}: no safetensors weights"


def test_a_folder_with_pickled_weights_only(folder):
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()
    hint = "pickle weights (.bin) are not read, convert them to safetensors"
    assert refused(folder) == f"{folder}: no safetensors weights; {hint}"


@pytest.mark.parametrize("keep", [0, 4, 100, -1, -1000])
def test_a_half_written_weight_file(folder, keep):
    cut(folder / WEIGHTS, keep)
    assert refused(folder) == f"{folder / WEIGHTS}: half-written or damaged weight file; write or fetch it again"


def test_a_weight_file_that_is_something_else(folder):
    (folder / WEIGHTS).write_bytes(b"\x08\0\0\0\0\0\0\0not json" + b"x" * 100)
    assert "half-written or damaged" in refused(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_half_written_json_file(folder, name):
    cut(folder / name, -20)
    assert refused(folder) == f"{folder / name}: half-written or damaged file; write or fetch it again"


def test_weights_in_several_files(folder):
    whole = LanguageModel.load(str(folder), device="cpu").module.state_dict()
    split_weights(folder)
    assert [file.name for file in weight_files(folder)] == ["model-1-of-2.safetensors", "model-2-of-2.safetensors"]
    loaded = LanguageModel.load(str(folder), device="cpu").module.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in whole.items())


def test_a_missing_part_of_the_weights(folder):
    split_weights(folder)
    (folder / "model-2-of-2.safetensors").unlink()
    assert refused(folder) == f"{folder}: weight file model-2-of-2.safetensors is missing; fetch the folder again"


def test_a_weight_that_no_file_holds_is_not_made_up(folder):
    weights = load_file(folder / WEIGHTS)
    del weights["lm_head.weight"]
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    assert refused(folder) == f"{folder}: its weight files lack lm_head.weight; fetch the folder again"


def test_weights_of_another_shape(folder):
    weights = load_file(folder / WEIGHTS)
    weights["lm_head.weight"] = weights["lm_head.weight"][:-1]
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    assert f"{folder}: transformers cannot open it as a language model" in refused(folder)


def test_another_kind_of_model(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "vit"}))
    assert f"{folder}: transformers cannot open it as a language model" in refused(folder)


def test_a_device_that_is_not_there(folder):
    with pytest.raises(ConfigError, match=r"model\.device = 'warp' is not to be had here .*: use auto"):
        LanguageModel.load(str(folder), device="warp")


def test_four_bits_without_bitsandbytes(folder, monkeypatch):
    monkeypatch.setattr("genunlearn.registry.extras.find_spec", lambda name: None)
    with pytest.raises(NeedNotMet, match=r"model\.quantize = 'nf4' needs the package 'bitsandbytes'.*: pip install"):
        LanguageModel.load(str(folder), device="cpu", quantize="nf4")


def test_four_bits_carry_a_lora_only():
    refuse_quantized_full("nf4", "lora")
    refuse_quantized_full("none", "full")
    with pytest.raises(InputError, match=r"model\.quantize = 'nf4' allows parameters\.kind = 'lora' only, got 'full'"):
        refuse_quantized_full("nf4", "full")


def test_a_whole_file_passes(folder):
    check_weights(folder)
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes() + b"\0")
    with pytest.raises(SourceNotFound):
        check_weights(folder)


# ---- identity -------------------------------------------------------------------------------------------------


def test_the_hash_follows_weights_and_shape_alone(folder, tmp_path):
    first = hash_weights(folder)
    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    (moved / "README.md").write_text("a card")
    config = json.loads((moved / "config.json").read_text())
    (moved / "config.json").write_text(json.dumps({**config, "_name_or_path": "/elsewhere"}))
    assert hash_weights(moved) == first
    (moved / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-4}))
    assert hash_weights(moved) != first


def test_the_hash_changes_with_one_weight(folder):
    first = hash_weights(folder)
    weights = load_file(folder / WEIGHTS)
    weights["lm_head.weight"][3, 5] += 1e-3
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    assert hash_weights(folder) != first
    assert LanguageModel.load(str(folder), device="cpu").base_sha256 == hash_weights(folder)


REVISION = getattr(errors, "RevisionResolutionError", errors.EntryNotFoundError)  # later releases have it


@pytest.mark.parametrize("error", [FileNotFoundError("gone"), ValueError("gone"), REVISION("gone")])
def test_what_the_hub_refuses_keeps_its_reason(error):
    def download():
        raise error

    with pytest.raises(SourceNotFound, match="pipeline 'a/b' is neither a folder nor to be had from the hub: gone"):
        fetch("pipeline", "a/b", download)


def test_a_mistake_of_ours_is_not_taken_for_a_missing_model():
    with pytest.raises(TypeError):
        fetch("model", "a/b", lambda: Path(3))
