"""Patches of this package that somebody has changed, or that meet another base."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.patches import DELTA_FILE, HEADER, LORA_FILE
from genunlearn.errors import DataError, MismatchError
from genunlearn.ops.linear_edits import LowRank
from tests import strangers
from tests.tiny_pipelines import MAX_TOKENS, tiny


def model(family: str = "sd1", seed: int = 0) -> Diffusion:
    return Diffusion(tiny(family, seed), text_length=MAX_TOKENS)


def our_patch(folder: Path, kind: str = "lora") -> Path:
    adapter = model()
    name, layer = next(iter(adapter.prompt_layers().items()))
    adapter.apply_low_rank({name: LowRank(torch.ones(layer.out_features, 1), torch.ones(1, layer.in_features))})
    return adapter.export(folder, kind)


def rewrite(path: Path, change: Callable[[dict[str, Tensor]], Any], **header: Any) -> None:
    """Change tensors or header entries of a file, and leave the rest of its header."""
    with safe_open(path, "pt") as file:
        own = json.loads(file.metadata()[HEADER])
    tensors = load_file(path)
    change(tensors)
    strangers.save(tensors, path, **{HEADER: json.dumps(own | header)})


def zeroed(tensors: dict[str, Tensor]) -> None:
    next(iter(tensors.values())).zero_()


@pytest.mark.parametrize("kind", ["lora", "delta", "kohya", "unet"])
@pytest.mark.parametrize(
    "change", [zeroed, lambda t: next(iter(t.values())).mul_(0.5), lambda t: None], ids=["zeroed", "scaled", "header"]
)
def test_a_patch_whose_bytes_changed_is_refused(kind: str, change: Callable[..., Any], tmp_path: Path) -> None:
    path = our_patch(tmp_path, kind)
    model().load_patch(path)
    rewrite(path, change, residual=0.25)
    with pytest.raises(DataError, match="changed after it was written"):
        model().load_patch(path)
    assert model().load_patch(path, force=True) == kind


def test_a_patch_that_lacks_tensors_is_refused(tmp_path: Path) -> None:
    path = our_patch(tmp_path, "unet")
    rewrite(path, lambda tensors: tensors.pop("conv_in.bias"))
    with pytest.raises(DataError, match="changed after it was written"):
        model().load_patch(path)


def test_a_patch_that_was_stripped_of_its_hash_is_refused(tmp_path: Path) -> None:
    path = our_patch(tmp_path)
    rewrite(path, zeroed, sha256=None)
    with pytest.raises(DataError, match="changed after it was written"):
        model().load_patch(path)


def test_a_patch_of_before_is_checked_by_the_sample_that_it_carries(tmp_path: Path) -> None:
    path = our_patch(tmp_path)
    old = {"kind": "lora", "pipeline": "StableDiffusionPipeline", "base": model().identity.sample.brief()}
    strangers.save(load_file(path), path, **{HEADER: json.dumps(old)})
    assert model().load_patch(path) == "lora"
    with pytest.raises(MismatchError, match="other base weights"):
        model(seed=1).load_patch(path)


HEADERS = [
    "5",
    "{",
    "{}",
    '{"kind": "lora"}',
    '{"kind": "zip", "pipeline": "", "base": null}',
    '{"kind": "lora", "pipeline": "", "base": [NaN]}',
    '{"kind": "lora", "pipeline": "", "base": 3}',
]


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_that_is_none_of_ours(header: str, tmp_path: Path) -> None:
    path = our_patch(tmp_path)
    strangers.save(load_file(path), path, **{HEADER: header})
    with pytest.raises(DataError, match="its header is damaged"):
        model().load_patch(path)


def test_a_base_whose_other_weights_were_zeroed_is_another_base(tmp_path: Path) -> None:
    # All but four values of every tensor of the denoiser: the sample sees nothing of it.
    path, ruined = our_patch(tmp_path), tiny("sd1")
    with torch.no_grad():
        for parameter in ruined.unet.parameters():
            flat = parameter.view(-1)
            kept = flat[:: max(1, (flat.numel() - 1) // 3)][:4].clone()
            flat.zero_()
            flat[:: max(1, (flat.numel() - 1) // 3)][:4] = kept
    adapter = Diffusion(ruined)
    assert adapter.identity.sample.sha256 == model().identity.sample.sha256
    assert adapter.base_sha256 != model().base_sha256
    with pytest.raises(MismatchError, match="other base weights"):
        adapter.load_patch(path)


@pytest.mark.parametrize("part", ["text_encoder", "vae"])
def test_the_other_parts_belong_to_the_base(part: str, tmp_path: Path) -> None:
    path, other = our_patch(tmp_path), tiny("sd1")
    with torch.no_grad():
        for parameter in getattr(other, part).parameters():
            parameter.mul_(1.1)
    with pytest.raises(MismatchError, match="other base weights"):
        Diffusion(other).load_patch(path)


def test_names_of_files_are_what_diffusers_looks_for() -> None:
    assert (LORA_FILE, DELTA_FILE) == ("pytorch_lora_weights.safetensors", "delta.safetensors")
