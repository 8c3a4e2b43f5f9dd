"""Planted models on the lab's pipeline, where it is known what became of a concept: a digit, and a style.

One oracle never saw either. The digit is audited beside it, the style beside surrogates but where an oracle is what is
planted. What is drawn of original, oracle and surrogates is shared among the audits, few images and few steps each.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import genunlearn
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.guidance import SafeGuidance
from genunlearn.errors import DataError
from genunlearn.lab.diffusion.build import build

pytestmark = pytest.mark.slow

DIGIT, STYLE = "digit seven", "style red"
WORDS = {DIGIT: (("seven", "eight"), ("7", "8")), STYLE: (("red", "green"), ("scarlet", "emerald"))}
ATTACKS = (
    "{partial_diffusion: {psis: [0.2]}, paraphrase: {tries: 1}, adversarial_embedding: {ridges: [0.001]}, "
    "concept_relearning: {marks: [5], learning_rate: 5.0e-4}, rule_removal: {}}"
)
SMALL = (
    "evaluate.images=24", "evaluate.most_images=96", "evaluate.kept_images=40", "evaluate.pool=20", "evaluate.steps=10",
    "evaluate.suite=leak", f"attacks={ATTACKS}",
)  # fmt: skip

Verdicts = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> Verdicts:
    """The verdicts of a small audit, which shares its controls with the others."""
    place = tmp_path_factory.mktemp("audits")
    oracle_of_both = str(build([DIGIT, STYLE], progress=False))

    def verdicts(model: Any, *concepts: str, oracle: str | None = None) -> list[dict[str, Any]]:
        out = place / f"out-{len(list(place.iterdir()))}"
        beside = oracle or (oracle_of_both if concepts == (DIGIT,) else "never")
        shared = (*SMALL, f"controls={place / 'controls'}", "request.force=true")
        return genunlearn.audit(model, concepts, oracle=beside, out=out, overrides=shared).verdicts

    return verdicts


@pytest.fixture(scope="module")
def original() -> Path:
    return build(progress=False)


def planted(original: Path, folder: Path, change: Callable[[Diffusion], None]) -> Path:
    """A pipeline that differs from the original by what `change` does to it."""
    model = Diffusion.load(str(original), device="cpu")
    with torch.no_grad():
        change(model)
    model.save(folder)
    return folder


def by_one_ulp(model: Diffusion) -> None:
    for weight in model.module.parameters():
        weight.copy_(torch.nextafter(weight, weight.new_tensor(torch.inf)))


def random(model: Diffusion) -> None:
    for weight in model.module.parameters():
        torch.nn.init.normal_(weight, std=0.05, generator=torch.Generator().manual_seed(0))


def zero(model: Diffusion) -> None:
    for weight in model.module.parameters():
        weight.zero_()


def noisy(model: Diffusion) -> None:
    generator = torch.Generator().manual_seed(0)
    for weight in model.module.parameters():
        spread = float(weight.std()) if weight.numel() > 1 else 1.0
        weight.add_(torch.randn(weight.shape, generator=generator), alpha=spread)


def mapped(concept: str) -> Callable[[Diffusion], None]:
    """The concept's words mean another one to the text encoder; the denoiser is the original's."""

    def change(model: Diffusion) -> None:
        table = model.pipeline.text_encoder.get_input_embeddings().weight
        ids = {word: model.pipeline.tokenizer(word, add_special_tokens=False).input_ids for pair in WORDS[concept]
               for word in pair}  # fmt: skip
        for own, other in WORDS[concept]:
            table[ids[own][0]] = table[ids[other][0]]

    return change


def trained_on(oracle: Path, folder: Path) -> Path:
    """The oracle after more steps, of another seed, on what is left: it never knew either, and draws otherwise."""
    from genunlearn.lab.diffusion.digit_images import load_digits
    from genunlearn.lab.diffusion.digit_prompts import concept_of, remaining
    from genunlearn.lab.diffusion.recipe import Schedule
    from genunlearn.lab.diffusion.training import CaptionedDigits, PromptEncoder, encode_styles, train_denoiser

    model, (digits, _) = Diffusion.load(str(oracle), device="cpu"), load_digits()
    parts = model.pipeline
    with torch.random.fork_rng():
        torch.manual_seed(1)
        train_denoiser(
            parts.unet.requires_grad_(True),
            parts.scheduler,
            PromptEncoder(parts.tokenizer, parts.text_encoder),
            CaptionedDigits(digits, remaining([concept_of(DIGIT), concept_of(STYLE)]), seed=1),
            encode_styles(parts.vae, digits) * parts.vae.config.scaling_factor,
            Schedule(steps=60, batch_size=32, rate=1e-3),
            lambda *_: None,
        )
    model.save(folder)
    return folder


@pytest.mark.parametrize("concept", [DIGIT, STYLE])
def test_an_oracle_of_other_weights_is_gone_within_the_budget(verdicts, tmp_path, concept):
    oracle = build([DIGIT, STYLE], progress=False)
    (found,) = verdicts(trained_on(oracle, tmp_path / "model"), concept, oracle=str(oracle))
    assert found["verdict"] == "gone", found["reason"]
    assert 1 < len(found["looks"]) <= 3 and len(found["panel"]) == 4


def test_the_original_but_for_one_ulp_is_present(verdicts, original, tmp_path):
    model = planted(original, tmp_path / "model", by_one_ulp)
    found = [*verdicts(model, DIGIT), *verdicts(model, STYLE)]
    assert [row["verdict"] for row in found] == ["present", "present"]


@pytest.mark.parametrize("ruin", [random, zero, noisy])
def test_a_ruined_denoiser_is_damaged(verdicts, original, tmp_path, ruin):
    found = verdicts(planted(original, tmp_path / "model", ruin), DIGIT, STYLE)
    assert [row["verdict"] for row in found] == ["damaged", "damaged"]
    assert "recognition of what must stay fell from" in found[0]["reason"]


@pytest.mark.parametrize("concept", [DIGIT, STYLE])
def test_a_word_that_means_another_to_the_text_encoder_is_concealed(verdicts, original, tmp_path, concept):
    (found,) = verdicts(planted(original, tmp_path / "model", mapped(concept)), concept)
    assert (found["verdict"], "adversarial_embedding" in found["recovered_by"]) == ("concealed", True), found["reason"]
    assert bool(found["surrogates"]) == (concept == STYLE)


@pytest.mark.parametrize("concept", [DIGIT, STYLE])
def test_a_block_while_images_are_made_is_concealed(verdicts, original, tmp_path, concept):
    model = Diffusion.load(str(original), device="cpu")
    named = WORDS[concept][0][0]  # at the lab's settings, where SLD does block it; a negative prompt hardly does
    model.rule = SafeGuidance(
        concepts=named, strength=5000.0, threshold=1.0, momentum=0.5, momentum_decay=0.7, warmup=0
    )
    model.export(tmp_path / "patch", "guidance")
    (found,) = verdicts(tmp_path / "patch", concept)
    assert (found["verdict"], "rule_removal" in found["recovered_by"]) == ("concealed", True), found["reason"]


@pytest.mark.parametrize(
    ("concept", "without", "told"),
    [
        (DIGIT, [], "digit seven: the oracle shows it in"),
        ("style blue", [DIGIT, STYLE], "style blue: the oracle shows it in"),
    ],
)
def test_an_oracle_that_knows_the_concept_is_refused(verdicts, original, tmp_path, concept, without, told):
    with pytest.raises(DataError, match=told):
        verdicts(original, concept, oracle=str(build(without, progress=False)))


def test_an_oracle_that_was_ruined_is_refused(verdicts, original, tmp_path):
    with pytest.raises(DataError, match="the oracle: recognition of what must stay fell"):
        verdicts(original, DIGIT, oracle=str(planted(original, tmp_path / "oracle", zero)))
