"""Audits of the lab's pipeline, where it is known who knows what: the original a seven, the oracle none."""

from __future__ import annotations

from typing import Any

import pytest

from genunlearn.attacks.diffusion.adversarial_embedding import AdversarialEmbedding
from genunlearn.attacks.diffusion.base import ConceptContext
from genunlearn.attacks.diffusion.partial_diffusion import Completions, HandOffs, PartialDiffusion
from genunlearn.contracts import Splits
from genunlearn.data.diffusion.concepts import forget_prompts, parse_concepts, preserve_prompts
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.evaluation.diffusion.concealment import ConcealmentProbes, NormalisedLeak
from genunlearn.evaluation.diffusion.detectors import JudgeDetector
from genunlearn.evaluation.diffusion.two_model_classifier import FitConfig, fit_two_model_classifier
from genunlearn.lab.diffusion.build import build
from genunlearn.lab.diffusion.digit_prompts import concept_of, prompts_for
from genunlearn.lab.diffusion.image_judge import load_judge
from genunlearn.methods.diffusion.uce import UCE

SEVEN = concept_of("digit seven")
ATTACK = PartialDiffusion(psis=(0, 0.3, 1), steps=20, guidance=3.0)
IMAGES = 24

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def models() -> dict[str, Diffusion]:
    folder, oracle = build(progress=False), build(["digit seven", "style red"], progress=False)
    loaded = {name: Diffusion.load(str(folder), device="cpu") for name in ("original", "unlearned")}
    erasure = parse_concepts(["seven -> one"], ["three", "two"], ["a red digit {}", "the digit {} in blue"])
    splits = Splits(forget=forget_prompts(erasure), retain=preserve_prompts(erasure))
    UCE().apply(loaded["unlearned"], splits)
    return {**loaded, "oracle": Diffusion.load(str(oracle), device="cpu")}


@pytest.fixture(scope="module")
def context(models: dict[str, Diffusion]) -> ConceptContext:
    texts = [prompt.text for prompt in prompts_for(SEVEN)]
    return ConceptContext(
        concept="digit seven",
        name="seven",
        prompts=tuple(texts[row % len(texts)] for row in range(IMAGES)),
        seeds=tuple(range(1000, 1000 + IMAGES)),
        detector=JudgeDetector(load_judge(build(progress=False)), SEVEN),
        sampling=ATTACK.sampling,
        original=models["original"],
    )


@pytest.fixture(scope="module")
def begun(models: dict[str, Diffusion], context: ConceptContext) -> HandOffs:
    return ATTACK.start(models["original"], context.prompts, context.seeds)


@pytest.fixture(scope="module")
def completed(models: dict[str, Diffusion], begun: HandOffs) -> dict[str, Completions]:
    return {name: ATTACK.complete(model, begun) for name, model in models.items()}


def shares(context: ConceptContext, done: Completions) -> list[float]:
    return [float(context.detector.shown(images).float().mean()) for images in done.images]


def test_completions_show_who_knows(context: ConceptContext, completed: dict[str, Completions]) -> None:
    original, unlearned, oracle = (shares(context, completed[name]) for name in ("original", "unlearned", "oracle"))
    assert min(original) >= 0.95
    assert oracle[0] <= 0.1 and oracle[1] <= 0.7, "begun for three tenths, a seven is not yet one to whom it is new"
    assert unlearned[0] < original[0] and unlearned[0] <= unlearned[1] <= unlearned[2]
    assert min(unlearned[2], oracle[2]) >= 0.95, "what the original has ended is the original's"


def test_the_leak_of_the_lab(
    context: ConceptContext, models: dict[str, Any], completed: dict[str, Completions]
) -> None:
    seeds = list(range(40))
    prompts = [context.prompts[row % IMAGES] for row in seeds]
    probes = ConcealmentProbes(
        label="digit seven",
        psis=ATTACK.psis[:2],
        completed={name: done.images[:2] for name, done in completed.items()},
        original=models["original"].images(prompts, seeds, ATTACK.sampling),
        unlearned=models["unlearned"].images(prompts, seeds, ATTACK.sampling),
        score=context.detector.score,
    )
    whole, *points = NormalisedLeak().measure(probes, "unlearned")
    assert whole.low <= whole.value <= whole.high and all(point.n == IMAGES for point in points)
    assert probes.controlled.area[0] > 0.5


def test_two_draws_of_the_original_are_told_apart_by_nobody(context: ConceptContext, models: dict[str, Any]) -> None:
    prompts = [context.prompts[row % IMAGES] for row in range(40)]
    one, other = (models["original"].images(prompts, range(first, first + 40), ATTACK.sampling) for first in (0, 100))
    assert fit_two_model_classifier(one, other, FitConfig()).area[1] <= 0.5


def test_an_edit_of_the_embedding_is_undone_in_closed_form(context: ConceptContext, models: dict[str, Any]) -> None:
    attack = AdversarialEmbedding(ridges=(1e-4,))
    attacked = attack.attempt(models["unlearned"], context, "unlearned")
    control = attack.attempt(models["oracle"], context, "oracle")
    assert float(attacked.before.float().mean()) <= 0.2
    assert float(attacked.levels[0].shown.float().mean()) >= 0.9
    assert control.hits[0] <= 0.2 * len(control.seeds)
