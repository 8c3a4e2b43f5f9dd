"""CLIP scores from a tiny CLIP model with random weights, saved and opened as one from the hub would be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

from genunlearn.errors import DataError, SourceNotFound
from genunlearn.evaluation.diffusion.clip import ClipScorer
from genunlearn.lab.diffusion.parts import build_tokenizer

SIZE = 24
PROMPTS = ["a red digit seven", "a blue digit two", "a digit"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = build_tokenizer(24)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**small, "vocab_size": len(tokenizer), "max_position_embeddings": 24, "projection_dim": 8}
    text |= {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    vision = {**small, "image_size": SIZE, "patch_size": 8, "projection_dim": 8}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8))
    path = tmp_path_factory.mktemp("clip")
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def scorer(folder: Path) -> ClipScorer:
    return ClipScorer.from_pretrained(str(folder))


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.nn.functional.interpolate(torch.rand(3, 3, 8, 6, generator=generator), size=(64, 48), mode="bilinear")


def test_images_are_prepared_as_clip_does_it(scorer: ClipScorer, images: torch.Tensor) -> None:
    pixels = (images * 255).round().byte()
    processor = CLIPImageProcessorPil(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})
    pictures = [Image.fromarray(np.asarray(each.permute(1, 2, 0))) for each in pixels]
    expected = processor(pictures, return_tensors="pt")["pixel_values"]
    prepared = scorer._prepare(pixels / 255)
    assert prepared.shape == expected.shape
    assert (prepared - expected).abs().max() < 3 / 255 / 0.26  # PIL rounds to whole grey levels, twice


def test_the_score_is_a_hundred_times_the_cosine_and_never_negative(scorer: ClipScorer, images: torch.Tensor) -> None:
    scores = scorer(images, PROMPTS)
    encoded = scorer.tokenizer(PROMPTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        out = scorer.model(pixel_values=scorer._prepare(images), **encoded)
    cosines = (out.image_embeds * out.text_embeds).sum(1)
    assert torch.allclose(scores, 100 * cosines.clamp_min(0), atol=1e-3)
    assert scores.min() >= 0


def test_an_image_does_not_depend_on_its_batch(
    scorer: ClipScorer, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = scorer(images, PROMPTS)
    monkeypatch.setattr("genunlearn.evaluation.diffusion.clip.BATCH", 1)
    assert torch.allclose(scorer(images, PROMPTS), whole, atol=1e-3)
    assert torch.allclose(scorer(images[1:2], PROMPTS[1:2]), whole[1:2], atol=1e-3)


def test_the_result_carries_its_interval(scorer: ClipScorer, images: torch.Tensor) -> None:
    result = scorer.result(images, PROMPTS, "original", group="digits")
    scores = scorer(images, PROMPTS)
    assert (result.name, result.target, result.group, result.n) == ("clip_score", "original", "digits", 3)
    assert result.value == pytest.approx(scores.mean().item())
    assert scores.min().item() <= result.low <= result.value <= result.high <= scores.max().item()


def test_prompts_and_images_must_be_as_many(scorer: ClipScorer, images: torch.Tensor) -> None:
    with pytest.raises(DataError, match="3 images, 2 prompts"):
        scorer(images, PROMPTS[:2])


def test_a_model_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match=r"evaluate\.clip = "):
        ClipScorer.from_pretrained(str(tmp_path))
