"""The lab's text-to-image pipeline: its parts, its build and, in the slow tests, what the real one can do."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from genunlearn.errors import DataError, NameNotFound, QualityError
from genunlearn.evaluation.diffusion.image_check import ImageCheck
from genunlearn.lab.cache import cache_root, read_card
from genunlearn.lab.diffusion import evaluation as exam
from genunlearn.lab.diffusion import parts as parts
from genunlearn.lab.diffusion.build import PRESETS, build, build_key
from genunlearn.lab.diffusion.card import MEANINGS, readme
from genunlearn.lab.diffusion.digit_images import draw, every_style, load_digits
from genunlearn.lab.diffusion.digit_prompts import STYLES, concept_of, prompt_grid, prompts_for, vocabulary
from genunlearn.lab.diffusion.image_judge import load_judge
from genunlearn.lab.diffusion.recipe import JudgeRecipe, Recipe, Schedule, Shape
from genunlearn.lab.diffusion.training import (
    CaptionedDigits,
    PromptEncoder,
    encode_styles,
    min_snr_weight,
    train_denoiser,
    train_text_encoder,
)

SHAPE = Shape(text_width=32, text_layers=1, vae_channels=(8, 8), unet_channels=(16, 16), num_heads=2)
TINY = Recipe(
    shape=SHAPE,
    judge=JudgeRecipe(width=4, num_features=8, schedule=Schedule(steps=3, batch_size=8, rate=1e-3)),
    autoencoder=Schedule(steps=3, batch_size=4, rate=1e-3),
    text_encoder=Schedule(steps=3, batch_size=8, rate=1e-3),
    denoiser=Schedule(steps=3, batch_size=8, rate=1e-3),
)


@pytest.fixture(scope="module")
def tokenizer():
    return parts.build_tokenizer(24)


# ---- parts ------------------------------------------------------------------------------------------------------


def test_every_word_of_the_prompts_is_one_token(tokenizer) -> None:
    words = {word for text in vocabulary() for word in text.replace(",", " ").split()}
    assert {word: tokenizer.tokenize(word) for word in words if len(tokenizer.tokenize(word)) != 1} == {}


def test_prompts_fit_with_room_for_more(tokenizer) -> None:
    longest = max(len(tokenizer(text)["input_ids"]) for text in vocabulary())
    assert longest + 8 <= tokenizer.model_max_length


def test_any_text_can_be_written_and_read_back(tokenizer) -> None:
    ids = tokenizer("Van Gogh, église 42!", add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids).replace(" ", "") == "vangogh,église42!"
    assert tokenizer.unk_token_id not in ids or tokenizer.unk_token == tokenizer.eos_token


def test_an_empty_prompt_is_start_and_end(tokenizer) -> None:
    assert tokenizer("")["input_ids"] == [tokenizer.bos_token_id, tokenizer.eos_token_id]


def test_min_snr_weights() -> None:
    # abar 0.5, 0.9 and 0.99: SNR 1, 9 and 99; min(SNR, 5) / SNR = 1, 5 / 9, 5 / 99.
    assert min_snr_weight(torch.tensor([0.5, 0.9, 0.99])).tolist() == pytest.approx([1, 5 / 9, 5 / 99], rel=1e-4)


def test_captions_belong_to_their_images() -> None:
    digits, _ = load_digits()
    captioned = CaptionedDigits(digits, [("seven", "red"), ("two", "striped")], seed=0)
    batch = captioned.batch(200)
    pairs = set(zip(digits.labels[batch.rows].tolist(), (STYLES[i] for i in batch.styles.tolist()), strict=True))
    assert pairs == {(7, "red"), (2, "striped")}
    for prompt, label in zip(batch.prompts, digits.labels[batch.rows].tolist(), strict=True):
        wrong = ("two", "2", "striped", "hatched") if label == 7 else ("seven", "7", "red", "scarlet")
        assert not any(word in prompt.replace(",", "").split() for word in wrong)


def test_prompts_are_embedded_once_and_as_by_the_pipeline(tokenizer) -> None:
    torch.manual_seed(0)
    text_encoder = parts.build_text_encoder(SHAPE, tokenizer).eval()
    prompts = PromptEncoder(tokenizer, text_encoder)
    embedded = prompts.embed(["a red digit seven", "", "a red digit seven"])
    vae, unet = parts.build_autoencoder(SHAPE), parts.build_unet(SHAPE)
    pipeline = parts.assemble(vae, text_encoder, tokenizer, unet, parts.build_scheduler())
    positive, negative = pipeline.encode_prompt("a red digit seven", "cpu", 1, True)
    assert torch.allclose(embedded[:1], positive, atol=1e-6) and torch.allclose(embedded[1:2], negative, atol=1e-6)
    text_encoder.requires_grad_(False)
    for parameter in text_encoder.parameters():
        parameter.zero_()
    assert torch.equal(prompts.embed(["a red digit seven"]), embedded[:1])


@pytest.mark.slow
def test_text_encoder_and_denoiser_learn(tokenizer) -> None:
    digits, _ = load_digits()
    few = dataclasses.replace(digits, ink=digits.ink[:200], labels=digits.labels[:200])
    captioned = CaptionedDigits(few, [("seven", "red"), ("two", "inverted")], seed=0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        prompts = PromptEncoder(tokenizer, parts.build_text_encoder(SHAPE, tokenizer))
        vae, unet = parts.build_autoencoder(SHAPE).eval(), parts.build_unet(SHAPE)
        features = torch.randn(6, 1, 8).expand(-1, 200, -1)
        losses: list[float] = []
        train_text_encoder(prompts, captioned, features, Schedule(steps=40, batch_size=32, rate=1e-2), losses.append)
        assert losses[-1] < 0.5 * losses[0]
        latents = encode_styles(vae, few)
        latents = latents / latents.std()
        losses.clear()
        schedule = Schedule(steps=30, batch_size=32, rate=5e-3)
        train_denoiser(unet, parts.build_scheduler(), prompts, captioned, latents, schedule, losses.append)
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    assert not any(parameter.requires_grad for parameter in unet.parameters())


# ---- build ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def lenient(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, and an exam that is quick and that nobody fails."""
    monkeypatch.setenv("GENUNLEARN_CACHE", str(cache))
    monkeypatch.setattr("genunlearn.lab.diffusion.assembly.LEVELS", {})
    monkeypatch.setattr(exam, "SAMPLING_STEPS", 1)
    monkeypatch.setattr(exam, "PER_PROMPT", 1)
    return cache_root() / "lab"


@pytest.fixture
def original(lenient: Path) -> Path:
    return build(recipe=TINY, progress=False)


def weights(folder: Path, part: str) -> dict[str, torch.Tensor]:
    name = "model.safetensors" if part in ("text_encoder", "judge") else "diffusion_pytorch_model.safetensors"
    return load_file(folder / part / name)


def are_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
def test_a_build_opens_with_plain_diffusers_and_has_its_card(original: Path) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(original)
    assert pipeline.safety_checker is None
    assert pipeline("a red digit seven", num_inference_steps=1).images[0].size == (16, 16)
    card = read_card(original)
    assert card["measured"].keys() == MEANINGS.keys() - {"ua"}
    assert card["seconds"].keys() == {"judge", "autoencoder", "text encoder", "denoiser", "measuring"}
    assert card["measured"]["object"]["n"] == 60
    assert json.loads((original / "model_index.json").read_text())["_class_name"] == "StableDiffusionPipeline"
    assert exam.SAMPLES_NAME in (original / "README.md").read_text()
    assert (original / exam.SAMPLES_NAME).stat().st_size > 1000


@pytest.mark.slow
def test_an_oracle_shares_autoencoder_and_judge_and_nothing_else(original: Path) -> None:
    oracle = build(["digit seven", "style red"], recipe=TINY, progress=False)
    assert oracle != original
    for part, is_shared in (("vae", True), ("judge", True), ("unet", False), ("text_encoder", False)):
        assert are_equal(weights(oracle, part), weights(original, part)) is is_shared, part
    card = read_card(oracle)
    assert card["without"] == ["digit seven", "style red"]
    assert card["measured"]["object"]["n"] == 9 * 5
    assert card["measured"]["ua"]["n"] == len({*prompts_for(concept_of("7"))}) + len({*prompts_for(concept_of("red"))})


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_the_random_state_is_kept(original: Path) -> None:
    kept = {part: weights(original, part) for part in ("vae", "judge", "unet", "text_encoder")}
    state = torch.get_rng_state()
    again = build(recipe=TINY, progress=False, force=True)
    assert again == original
    assert all(are_equal(weights(again, part), tensors) for part, tensors in kept.items())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.slow
def test_a_build_below_its_level_is_refused_and_leaves_nothing(lenient: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genunlearn.lab.diffusion.assembly.LEVELS", {"object": 0.95})
    before = set(lenient.glob("*diffusion-*"))
    with pytest.raises(QualityError, match=r"object = 0\.\d+ \(at least 0.95\)"):
        build(recipe=TINY, seed=1, progress=False)
    assert {path for path in set(lenient.glob("*diffusion-*")) - before if path.is_dir()} == set()


def test_names_are_checked_before_anything_is_built(lenient: Path) -> None:
    before = set(lenient.glob("*"))
    with pytest.raises(NameNotFound, match="did you mean 'style red'"):
        build(["style rad"])
    with pytest.raises(DataError, match="leaves nothing to learn"):
        build(STYLES)
    assert set(lenient.glob("*")) == before


def test_the_key_tells_builds_apart_and_names_alike() -> None:
    default, seven, red = PRESETS["default"], concept_of("digit seven"), concept_of("red")
    keys = [
        build_key(default, 0, []),
        build_key(default, 1, []),
        build_key(TINY, 0, []),
        build_key(default, 0, [seven]),
        build_key(default, 0, [red]),
        build_key(default, 0, [red, seven]),
    ]
    assert len(set(keys)) == len(keys)
    assert build_key(default, 0, [seven, red]) == keys[-1]


def test_the_readme_tells_what_was_left_out_and_measured() -> None:
    estimate = {"value": 0.985, "low": 0.96, "high": 0.99, "n": 270}
    card = {
        "seed": 3,
        "without": ["digit seven"],
        "measured": {"object": estimate},
        "parameters": {"unet": 2_000_000, "vae": 150_000},
        "seconds": {"denoiser": 100.0, "measuring": 20.0},
    }
    text = readme(card)
    assert "never saw digit seven" in text and "2,150,000 parameters" in text and "in 100 seconds" in text
    assert "| object | 0.9850 | 0.9600 to 0.9900 | 270 |" in text


# ---- the real one -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real() -> Path:
    return build(progress=False)


@pytest.fixture(scope="module")
def pipeline(real: Path) -> StableDiffusionPipeline:
    opened = StableDiffusionPipeline.from_pretrained(real)
    opened.set_progress_bar_config(disable=True)
    return opened


@pytest.mark.slow
def test_the_real_one_reaches_its_levels(real: Path) -> None:
    measured = read_card(real)["measured"]
    assert all(measured[name]["value"] >= least for name, least in exam.LEVELS.items())
    assert measured["object_held_out"]["value"] >= 0.9 and measured["style_held_out"]["value"] >= 0.9


@pytest.mark.slow
def test_it_draws_what_it_is_asked_for(real: Path, pipeline: StableDiffusionPipeline) -> None:
    prompts = prompt_grid()[::3]
    images = exam.sample_images(pipeline, [prompt.text for prompt in prompts], seed=1234)
    objects, styles = load_judge(real)(images)
    asked_objects = torch.tensor([concept_of(prompt.object).index for prompt in prompts])
    asked_styles = torch.tensor([concept_of(prompt.style).index for prompt in prompts])
    assert (objects.argmax(-1) == asked_objects).float().mean() >= 0.9
    assert (styles.argmax(-1) == asked_styles).float().mean() >= 0.9
    digits, _ = load_digits()
    assert ImageCheck.against(torch.cat([draw(digits.ink[:60], style) for style in STYLES]))(images) is None


@pytest.mark.slow
def test_noise_that_the_decoder_turned_into_images_is_found(pipeline: StableDiffusionPipeline) -> None:
    digits, _ = load_digits()
    check = ImageCheck.against(every_style(digits)[0])
    noise = torch.randn(60, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        decoded = pipeline.vae.decode(noise / pipeline.vae.config.scaling_factor).sample
    assert "noise" in check((decoded / 2 + 0.5).clamp(0, 1))


@pytest.mark.slow
def test_an_oracle_never_draws_what_it_has_not_seen(real: Path) -> None:
    card = read_card(build(["digit seven", "style red"], progress=False))
    assert card["measured"]["ua"]["value"] >= 0.9
    assert card["measured"]["object"]["value"] >= 0.95
