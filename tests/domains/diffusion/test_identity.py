"""What a base is known by: all bytes of all parts, hashed once for each file."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from genunlearn.domains.diffusion import identity
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.identity import hash_file, hash_source, hash_tensors
from genunlearn.shipped import CACHE_VARIABLE
from tests.tiny_pipelines import tiny

WEIGHTS = {
    "unet": "diffusion_pytorch_model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    tiny("sd1").save_pretrained(tmp_path / "base")
    return tmp_path / "base"


@pytest.mark.parametrize("part", WEIGHTS)
def test_one_value_of_any_part_makes_another_model(folder: Path, part: str) -> None:
    before, path = hash_source(folder), folder / part / WEIGHTS[part]
    tensors = load_file(path)
    next(iter(tensors.values())).view(-1)[1] += 0.5
    save_file(tensors, path, metadata={"format": "pt"})
    assert hash_source(folder) != before


def test_the_same_files_elsewhere_are_the_same_model(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    one, two = (Diffusion.load(str(place), device="cpu") for place in (folder, tmp_path / "copy"))
    assert one.base_sha256 == two.base_sha256
    (tmp_path / "copy" / "scheduler" / "scheduler_config.json").write_text('{"beta_end": 0.5}')
    assert hash_source(tmp_path / "copy") != one.base_sha256


def test_a_file_is_read_once_until_it_is_touched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, reads = folder / "vae" / WEIGHTS["vae"], []
    digest = identity.hashlib.file_digest
    monkeypatch.setattr(identity, "SETTLED_NS", -(10**18))
    monkeypatch.setattr(identity.hashlib, "file_digest", lambda *a: reads.append(a) or digest(*a))
    first = hash_file(path)
    assert hash_file(path) == first and len(reads) == 1
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))  # of the same length
    os.utime(path, ns=(time.time_ns(), time.time_ns() + 5))
    assert hash_file(path) != first and len(reads) == 2


def test_a_file_just_written_is_not_remembered(folder: Path, tmp_path: Path) -> None:
    # It might change once more within one tick of the clock that its times are taken from.
    path = tmp_path / "a"
    path.write_bytes(b"one")
    hash_file(path)
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_cannot_be_written_costs_time_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "full").write_text("a file, no folder")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "full"))
    monkeypatch.setattr(identity, "SETTLED_NS", -(10**18))
    assert len(hash_file(folder / "vae" / WEIGHTS["vae"])) == 64


def test_names_types_and_shapes_count() -> None:
    zeros = torch.zeros(4)
    found = [{"a": zeros}, {"b": zeros}, {"a": zeros.half()}, {"a": zeros.view(2, 2)}, {"a": zeros[:2]}, {}]
    assert len({hash_tensors(tensors) for tensors in found}) == len(found)


def test_a_model_in_memory_is_what_it_was_when_it_was_handed_over() -> None:
    model = Diffusion(tiny("sd1"))
    before = model.base_sha256
    with torch.no_grad():
        next(model.network.parameters()).mul_(2)
    assert model.base_sha256 == before == Diffusion(tiny("sd1")).base_sha256
    assert Diffusion(model.pipeline).base_sha256 != before
