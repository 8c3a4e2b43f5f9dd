"""Pipelines on disk, and parts that leave memory and come back."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.sampling import Sampling
from genunlearn.errors import SourceNotFound
from tests.tiny_pipelines import FAMILIES, MAX_TOKENS, tiny

FEW = Sampling(steps=2, guidance=2.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny("sd1").save_pretrained(tmp_path / "base")
    return tmp_path / "base"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_is_read(family: str, tmp_path: Path) -> None:
    pipeline = tiny(family)
    pipeline.save_pretrained(tmp_path)
    loaded = Diffusion.load(str(tmp_path), device="cpu", text_length=MAX_TOKENS, image_size=16)
    expected = Diffusion(pipeline, text_length=MAX_TOKENS, image_size=16).images(["a cat"], [1], FEW)
    torch.testing.assert_close(loaded.images(["a cat"], [1], FEW), expected)


def test_another_dtype(folder: Path) -> None:
    model = Diffusion.load(str(folder), dtype="bfloat16", device="cpu")
    assert model.dtype == torch.bfloat16
    assert model.encode_prompts(["a cat"]).tokens.dtype == torch.bfloat16
    assert model.images(["a cat"], [1], FEW).dtype == torch.float32


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_missing_part_is_named(folder: Path, part: str) -> None:
    shutil.rmtree(folder / part)
    with pytest.raises(SourceNotFound, match=f"part '{part}' .* is missing"):
        Diffusion.load(str(folder), device="cpu")


def test_half_written_weights(folder: Path) -> None:
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(SourceNotFound, match="half-written or damaged"):
        Diffusion.load(str(folder), device="cpu")


def test_weights_without_a_configuration(folder: Path) -> None:
    (folder / "unet" / "config.json").unlink()
    with pytest.raises(SourceNotFound, match="diffusers cannot open it as a pipeline"):
        Diffusion.load(str(folder), device="cpu")


def test_a_configuration_that_asks_for_more_weights(folder: Path) -> None:
    path = folder / "unet" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"dual_cross_attention": True}))
    with pytest.raises(SourceNotFound, match="lacks weights of 'unet'; fetch or save the pipeline again"):
        Diffusion.load(str(folder), device="cpu")


def test_folders_that_are_no_pipeline(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match=r"no model_index\.json"):
        Diffusion.load(str(tmp_path))
    with pytest.raises(SourceNotFound, match=r"no pipeline at '\./nowhere'"):
        Diffusion.load("./nowhere")


def test_released_parts_are_read_again_when_they_are_needed(folder: Path, tmp_path: Path) -> None:
    model = Diffusion.load(str(folder), device="cpu")
    expected = model.images(["a cat"], [1], FEW)
    model.release()
    assert model.pipeline.text_encoder is None
    assert model.pipeline.vae is None
    torch.testing.assert_close(model.images(["a cat"], [1], FEW), expected)
    assert model.pipeline.text_encoder is None, "the prompt was encoded before"
    fresh = Diffusion.load(str(folder), device="cpu").images(["a dog"], [1], FEW)
    torch.testing.assert_close(model.images(["a dog"], [1], FEW), fresh)
    assert model.pipeline.text_encoder is not None


def test_a_released_pipeline_is_exported_whole(folder: Path, tmp_path: Path) -> None:
    model = Diffusion.load(str(folder), device="cpu")
    model.release("vae")
    model.export(tmp_path / "out", "pipeline")
    assert (tmp_path / "out" / "vae" / "config.json").is_file()
    Diffusion.load(str(tmp_path / "out"), device="cpu").images(["a cat"], [1], FEW)


def test_without_a_folder_parts_wait_instead_of_going() -> None:
    model = Diffusion(tiny("sd1"))
    model.release()
    assert next(model.pipeline.vae.parameters()).device == torch.device("cpu")
    assert model.images(["a cat"], [1], FEW).shape == (1, 3, 16, 16)
