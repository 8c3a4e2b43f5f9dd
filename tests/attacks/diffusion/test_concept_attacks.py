"""Attacks on erased concepts: what all of them keep to, and what each finds where the answer is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from genunlearn.attacks.diffusion.adversarial_embedding import AdversarialEmbedding
from genunlearn.attacks.diffusion.base import ConceptContext, Drawn, DrawnAttack
from genunlearn.attacks.diffusion.concept_relearning import ConceptRelearning
from genunlearn.attacks.diffusion.inpainting import Inpainting
from genunlearn.attacks.diffusion.latent_guidance import LatentGuidance
from genunlearn.attacks.diffusion.noise_probing import NoiseProbing
from genunlearn.attacks.diffusion.p4d import P4D
from genunlearn.attacks.diffusion.paraphrase import Paraphrase, paraphrases_of
from genunlearn.attacks.diffusion.ring_a_bell import RingABell
from genunlearn.attacks.diffusion.textual_inversion import TextualInversion, placed
from genunlearn.attacks.diffusion.unlearn_diff_atk import UnlearnDiffAtk
from genunlearn.attacks.diffusion.weight_reload import LoraRemoval, QuantisedReload, RuleRemoval
from genunlearn.config import ParametersConfig
from genunlearn.contracts import Splits
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.edits import apply_map
from genunlearn.domains.diffusion.guidance import ClassifierFree
from genunlearn.domains.diffusion.sampling import Sampling
from genunlearn.engine.parameters import attach
from genunlearn.errors import DataError, NeedNotMet
from genunlearn.ops.linear_edits import InputMap
from genunlearn.registry import ATTACKS
from tests.attack_worlds import BUDGETS
from tests.tiny_pipelines import HIDDEN, MAX_TOKENS, tiny

STEPS = 2


class Bright:
    """Sees the concept in images that are brighter than a threshold."""

    def __init__(self, threshold: float = 0.5) -> None:
        self.threshold = threshold

    def score(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1).mean(1)

    def shown(self, images: torch.Tensor) -> torch.Tensor:
        return self.score(images) > self.threshold


def model(family: str = "sd1") -> Diffusion:
    return Diffusion(tiny(family), text_length=MAX_TOKENS)


ORIGINAL = model()


def context(**fields: Any) -> ConceptContext:
    given: dict[str, Any] = {
        "concept": "animal cat",
        "name": "cat",
        "prompts": ("a red cat", "a photo of a cat", "a red cat"),
        "seeds": (3, 4, 5),
        "detector": Bright(),
        "sampling": Sampling(steps=STEPS, guidance=2.0, scheduler="ddim"),
        "neighbours": ("a dog", "a church"),
        "original": ORIGINAL,
    }
    return ConceptContext(**{**given, **fields})


SMALL: dict[str, DrawnAttack] = {
    kind.name: kind(**BUDGETS.get(f"diffusion/{kind.name}", {}))
    for kind in (
        Paraphrase,
        NoiseProbing,
        AdversarialEmbedding,
        TextualInversion,
        UnlearnDiffAtk,
        P4D,
        RingABell,
        Inpainting,
        LatentGuidance,
        ConceptRelearning,
        QuantisedReload,
    )
}


def unlearned() -> Diffusion:
    """The original with its keys and values of the prompt bent."""
    bent = model()
    push = torch.Generator().manual_seed(0)
    left, right = (torch.randn(*shape, generator=push).double() for shape in ((HIDDEN, 3), (3, HIDDEN)))
    apply_map(bent, InputMap(0.1 * left, right))
    return bent


# ---- every attack -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_an_attack_keeps_to_the_rules(name: str) -> None:
    attack, given, target = SMALL[name], context(), unlearned()
    assert ATTACKS.get(name, "diffusion") is type(attack) and attack.budget
    before = {key: weight.clone() for key, weight in target.module.state_dict().items()}
    state = torch.random.get_rng_state()
    one = attack.attempt(target, given, "unlearned")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(weight, before[key]) for key, weight in target.module.state_dict().items())
    assert not any(weight.requires_grad for weight in target.module.parameters())
    assert one.images.shape == (3, 3, 16, 16) and one.images.isfinite().all()
    assert one.forwards > 0 and one.seconds > 0 and one.seeds == given.seeds
    assert torch.equal(one.before, given.detector.shown(target.images(given.prompts, given.seeds, given.sampling)))
    again = attack.attempt(unlearned(), given, "again")
    torch.testing.assert_close(one.images, again.images, atol=1e-4, rtol=1e-3)
    plain, attacked = one.results()
    assert (plain.name, attacked.name) == ("asr_before", "asr") and attacked.group == f"animal cat, {attack.name}"
    assert plain.n == 3 and plain.value <= attacked.value


def test_success_is_counted_with_and_without_the_attack() -> None:
    class Darker(DrawnAttack):
        name = "darker"

        @property
        def budget(self) -> str:
            return "none"

        def draw(self, model: Any, context: ConceptContext) -> Drawn:
            images = context.plain(model, "x").flip(0)  # the first and the last image change places
            return Drawn.judged(images, context.detector)

    given, target = context(), model()
    levels = Bright().score(given.plain(target, "x")).sort().values
    given = replace(given, detector=Bright(float(levels[1] + levels[2]) / 2))  # one image of three is bright
    attempt = Darker().attempt(target, given, "x")
    plain, attacked = attempt.results()
    moved = int(not torch.equal(attempt.before, attempt.levels[0].shown))
    assert (plain.value, attacked.value) == (1 / 3, (1 + moved) / 3)


def test_of_several_variants_the_strongest_counts() -> None:
    images = torch.zeros(3, 2, 3, 4, 4)
    images[1, 0], images[2, 1], images[0, 1] = 0.9, 0.4, 0.3
    drawn = Drawn.strongest(images, Bright())
    assert drawn.shown.tolist() == [True, False] and drawn.scores.tolist() == pytest.approx([0.9, 0.4])
    assert drawn.details == {"variant": [1, 2], "shown_by_variant": [0.0, 0.5, 0.0]}


def test_plain_images_are_made_once_a_target() -> None:
    given, target = context(), model()
    given.plain(target, "x")
    spent = target.meter.frozen
    given.plain(target, "x")
    assert target.meter.frozen == spent


# ---- where the answer is known ----------------------------------------------------------------------------------


def test_the_closed_form_embedding_undoes_an_edit() -> None:
    # Guidance 1 leaves the empty prompt out, which is edited as well and not attacked.
    given, target = context(sampling=Sampling(steps=STEPS, guidance=1.0)), unlearned()
    wanted = given.original.images(given.prompts, given.seeds, given.sampling)
    plain = target.images(given.prompts, given.seeds, given.sampling)
    found = AdversarialEmbedding(ridges=(1e-6,)).draw(target, given).images
    assert (found - wanted).abs().mean() < 0.05 * (plain - wanted).abs().mean()


def test_the_concept_gives_its_place_to_free_tokens() -> None:
    assert placed("a red cat", "cat") == "a red {}" and placed("a feline", "cat") == "{} a feline"


@pytest.mark.slow
def test_textual_inversion_learns() -> None:
    # Noise and timestep of the last step are those of its number, so that two rates end in losses that compare.
    given, losses = context(), []
    for rate in (1e-9, 0.1):
        attack = TextualInversion(images=1, steps=30, batch_size=1, learning_rate=rate)
        losses.append(attack.draw(model(), given).details["last_loss"])
    assert losses[1] < losses[0]


def test_a_starting_word_in_its_own_place_is_the_plain_prompt() -> None:
    given, target = context(), model()
    drawn = TextualInversion(images=1, steps=0, start="cat").draw(target, given)
    torch.testing.assert_close(drawn.images, given.plain(target, "x"), atol=1e-4, rtol=1e-3)


def test_a_model_that_shows_everything_is_found_in_the_first_round() -> None:
    given = context(detector=Bright(-1.0))
    for attack in (UnlearnDiffAtk(tokens=2, rounds=9, iterations=1), P4D(tokens=2, rounds=9, iterations=1)):
        target = model()
        details = attack.draw(target, given).details
        assert details["rounds_until_found"] == [1, 1, 1]
        assert target.meter.trained == 3, "one gradient step for three images"


@pytest.mark.slow
def test_ring_a_bell_gets_nearer() -> None:
    target, wanted = model(), model().encode_prompts(["a red cat", "a dog"]).tokens

    def error(generations: int) -> float:
        attack = RingABell(tokens=3, population=24, generations=generations, mutation=0.5)
        ids = attack._search(target, wanted)
        from genunlearn.domains.diffusion.tokens import FreeTokens

        free = FreeTokens(target, ["{}"] * 2, 3)
        return float((free.embed(free.vectors(ids)).tokens - wanted).square().sum())

    assert error(30) < 0.8 * error(0)


def test_inpainting_holds_the_surroundings() -> None:
    given, target = context(), model()
    drawn = Inpainting(hidden=0.5).draw(target, given)
    pictures, _ = given.concept_images(3)
    again = target.decode(target.encode_images(pictures))
    # the outermost pixels lie a latent and the decoder's reach away from the hidden middle
    torch.testing.assert_close(drawn.images[..., 0, 0], again[..., 0, 0], atol=0.15, rtol=0)
    whole = Inpainting(hidden=1.0).draw(target, given).images
    torch.testing.assert_close(whole, given.plain(target, "x"), atol=1e-3, rtol=1e-2)


def test_no_pull_is_the_plain_image() -> None:
    given, target = context(), model()
    drawn = LatentGuidance(scales=(0.0,), images=2, steps=1, width=4).draw(target, given)
    torch.testing.assert_close(drawn.images, given.plain(target, "x"), atol=1e-3, rtol=1e-2)


def test_the_latent_classifier_learns() -> None:
    given, target = context(images=torch.ones(2, 3, 16, 16), unrelated=(torch.zeros(2, 3, 16, 16), ("a dog",))), model()
    target.encode_images = lambda images: (4 * images - 2)[
        :, [0, 1, 2, 0], ::2, ::2
    ]  # this VAE tells them hardly apart
    classifier = LatentGuidance(images=2, steps=40, width=8, learning_rate=1e-2).train(target, given)
    own, other = (target.encode_images(images) for images in (given.images, given.unrelated[0]))
    level = torch.full((2,), 0.1)
    assert classifier(own, level).min() > 1 and classifier(other, level).max() < -1


def test_relearning_results_and_data() -> None:
    given = context(detector=Bright(-1.0))
    attack = ConceptRelearning(images=2, marks=(0, 1), batch_size=2)
    results = attack.run(model(), Splits(forget=(), context=given), "unlearned")
    found = {(result.name, result.group): result for result in results}
    assert found["relearn_steps", "animal cat, concept_relearning"].value == 0
    assert found["asr", "animal cat, concept_relearning, step 1"].value == 1
    benign = ConceptRelearning(data="unrelated", images=2, marks=(0, 1))
    (*_, steps) = benign.run(model(), Splits(forget=(), context=context(detector=Bright(2.0))), "unlearned")
    assert steps.group == "animal cat, concept_relearning_unrelated" and steps.value is None
    assert steps.skipped == "not relearnt to 50% within 1 steps"


def test_relearning_moves_towards_what_it_is_taught() -> None:
    given, target = context(images=torch.ones(2, 3, 16, 16)), model()
    first, last = ConceptRelearning(images=2, marks=(0, 30), learning_rate=5e-2).curve(target, given)
    assert last.images.mean() > first.images.mean()


def test_a_lora_can_be_left_out() -> None:
    target = model()
    attach(target, ParametersConfig(rank=2, target_modules="x"), seed=0)
    with torch.no_grad():
        for name, weight in target.module.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.5)
    given = context()
    drawn = LoraRemoval().draw(target, given)
    bare = model().images(given.prompts, given.seeds, given.sampling)
    torch.testing.assert_close(drawn.images, bare, atol=1e-4, rtol=1e-3)
    assert not torch.allclose(given.plain(target, "x"), bare, atol=1e-2)


def test_a_rule_can_be_left_out() -> None:
    target, given = model(), context()
    target.rule = ClassifierFree("cat")
    attack = RuleRemoval()
    drawn = attack.draw(target, given)
    torch.testing.assert_close(drawn.images, given.plain(ORIGINAL, "original"))
    assert not torch.allclose(drawn.images, given.plain(target, "unlearned"))
    assert target.rule == ClassifierFree("cat")
    beside = replace(given, audited=target)
    assert attack.missing(target, beside) is None and attack.missing(ORIGINAL, beside) is None, "the control draws too"
    assert attack.missing(ORIGINAL, given) == "no rule is in force while images are made"


# ---- what is lacking --------------------------------------------------------------------------------------------


def test_without_what_it_needs_an_attack_is_skipped() -> None:
    alone = context(original=None, images=torch.rand(2, 3, 16, 16))
    for attack in (AdversarialEmbedding(), P4D()):
        (result,) = attack.run(model(), Splits(forget=(), context=alone), "unlearned")
        assert result.value is None and result.skipped == "needs the original"
    (result,) = LoraRemoval().run(model(), Splits(forget=(), context=alone), "unlearned")
    assert result.skipped == "no LoRA is attached: the change is part of the weights"
    with pytest.raises(NeedNotMet, match="no LoRA is attached"):
        LoraRemoval().draw(model(), alone)


def test_no_images_to_learn_from() -> None:
    with pytest.raises(DataError, match=r"images = None: give some, or the original model"):
        TextualInversion().draw(model(), context(original=None))
    with pytest.raises(DataError, match=r"unrelated = None"):
        ConceptRelearning(data="unrelated").draw(model(), context(neighbours=()))


def test_paraphrases_take_turns_in_names() -> None:
    texts = paraphrases_of("cat", ("feline",))
    assert texts[:4] == ("feline", "cat", "an image of feline", "an image of cat")
    assert len(set(texts)) == len(texts)
