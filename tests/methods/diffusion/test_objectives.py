"""Losses on real pipelines against their formulas, term by term."""

from typing import Any

import pytest
import torch
from torch import Tensor

from genunlearn.config import ParametersConfig
from genunlearn.contracts import Batch, Examples, Objective, Splits
from genunlearn.data.diffusion.concepts import forget_prompts, parse_concepts, preserve_prompts
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.engine import parameters
from genunlearn.engine.reference import make_reference
from genunlearn.errors import DataError, NeedNotMet
from genunlearn.methods.diffusion.adv_unlearn import AdvUnlearn
from genunlearn.methods.diffusion.concept_ablation import ConceptAblation
from genunlearn.methods.diffusion.erase_diff import EraseDiff
from genunlearn.methods.diffusion.esd import ESD
from genunlearn.methods.diffusion.forget_me_not import ForgetMeNot
from genunlearn.methods.diffusion.receler import Receler
from genunlearn.methods.diffusion.salun import RandomConcept
from genunlearn.methods.diffusion.sdd import SDD
from genunlearn.methods.diffusion.spm import SPM
from genunlearn.ops.embeddings import EmbeddingAttack
from tests.tiny_pipelines import MAX_TOKENS, tiny

FEW: dict[str, Any] = {"trajectories": 1, "steps": 4}
IMAGES: dict[str, Any] = {"images": 2, "image_steps": 2, "image_guidance": 2.0}


def request(concepts: tuple[str, ...] = ("cat -> dog",), preserve: tuple[str, ...] = ("church",)) -> Splits:
    erasure = parse_concepts(concepts, preserve, ["a {}"])
    return Splits(forget=forget_prompts(erasure), retain=preserve_prompts(erasure) or None)


class Stage:
    """A model in training beside its frozen original, and one batch of both sides.

    Attributes:
        adapter: The trained model; its weights have moved away from the original's.
        frozen: The original as an adapter of its own.
        reference: The original as the loss asks it.
    """

    def __init__(self, method: Objective, family: str = "sd1", splits: Splits | None = None, rows: int = 2) -> None:
        self.adapter, self.frozen = (Diffusion(tiny(family), text_length=MAX_TOKENS) for _ in range(2))
        parameters.attach(self.adapter, ParametersConfig(kind="full", target_modules="full"), seed=0)
        prepared = method.prepare(splits or request(), seed=3)
        self.reference = make_reference(self.adapter, "full")
        self.reference.fill(method, prepared, self.adapter, 8)
        collate = self.adapter.collate
        self.batch = Batch(
            collate(prepared.forget[:rows]), collate(prepared.retain[:rows]) if prepared.retain else None
        )
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in self.adapter.network.parameters():
                parameter += 0.05 * parameter.std().nan_to_num() * torch.randn(parameter.shape, generator=generator)

    def losses(self, method: Objective, seed: int = 5) -> dict[str, float]:
        """Each term as the loop would weigh it, with one batch a step."""
        torch.manual_seed(seed)
        terms = method.loss(self.batch, self.adapter, self.reference)
        counts = {side: len(examples) for side, examples in self.batch.sides()}
        return {name: float(term.coefficient * term.sum / counts[term.side]) for name, term in terms.items()}

    def points(self, examples: Examples) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Latents, timesteps and both predictions of the original, straight from its trajectories."""
        texts = [self.adapter.prompts.texts[i] for i in examples["prompt"].tolist()]
        own = Examples(
            examples.ids, examples.weight, {**examples.tensors, "prompt": self.frozen.prompts.numbers(texts)}
        )
        noisy = self.frozen.trajectory_point(own)[:, 0]
        t = self.frozen.trajectory_timesteps(own)
        empty = self.frozen.predict(noisy, t, self.frozen.unconditional(len(own)))
        return noisy, t, self.frozen.predict(noisy, t, self.frozen.embedding(own)), empty

    def images(self, examples: Examples, seed: int = 5) -> Any:
        """The original's images with the noise that the loss draws for them after `seed`."""
        latents = self.reference.ask("clean_latents", examples)
        torch.manual_seed(seed)
        return self.frozen.noised(latents, examples.ids)

    def student(self, noisy: Tensor, t: Tensor, prompts: list[str]) -> Tensor:
        return self.adapter.predict(noisy, t, self.adapter.encode_prompts(prompts))

    def teacher(self, noisy: Tensor, t: Tensor, prompts: list[str]) -> Tensor:
        return self.frozen.predict(noisy, t, self.frozen.encode_prompts(prompts))


def mse(a: Tensor, b: Tensor) -> float:
    return float((a - b).square().mean())


# ---- ESD -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl", "sd3", "flux"])
def test_esd_is_its_formula(family: str) -> None:
    method = ESD(strength=1.5, preserve_weight=0.5, **FEW)
    stage = Stage(method, family)
    noisy, t, conditional, empty = stage.points(stage.batch.forget)
    forget = mse(stage.student(noisy, t, ["a cat"] * 2), conditional - 1.5 * (conditional - empty))
    noisy, t, conditional, _ = stage.points(stage.batch.retain)
    preserve = mse(stage.student(noisy, t, ["a church"] * 2), conditional)
    assert stage.losses(method) == pytest.approx({"forget": forget, "preserve": 0.5 * preserve}, rel=1e-3)


def test_the_paper_s_target_starts_from_the_empty_prompt() -> None:
    method = ESD(strength=1.0, source="empty", **FEW)
    stage = Stage(method, splits=request(preserve=()))
    noisy, t, conditional, empty = stage.points(stage.batch.forget)
    expected = mse(stage.student(noisy, t, ["a cat"] * 2), empty - (conditional - empty))
    assert stage.losses(method) == pytest.approx({"forget": expected}, rel=1e-4)


def test_an_attribute_is_erased_from_the_anchor() -> None:
    method = ESD(strength=2.0, source="anchor", **FEW)
    stage = Stage(method, splits=request(preserve=()))
    noisy, t, conditional, empty = stage.points(stage.batch.forget)
    target = stage.teacher(noisy, t, ["a dog"] * 2) - 2 * (conditional - empty)
    assert stage.losses(method)["forget"] == pytest.approx(
        mse(stage.student(noisy, t, ["a dog"] * 2), target), rel=1e-4
    )


def test_strength_zero_asks_for_the_original_prediction() -> None:
    method = ESD(strength=0.0, **FEW)
    stage = Stage(method)
    stage.adapter.module.load_state_dict(stage.frozen.module.state_dict())
    assert stage.losses(method) == pytest.approx({"forget": 0.0, "preserve": 0.0}, abs=1e-9)


def test_esd_asks_the_original_once_for_a_trajectory_and_never_again() -> None:
    method = ESD(trajectories=2, steps=10)
    stage = Stage(method, splits=request(preserve=()))
    spent = stage.adapter.meter.frozen
    assert spent == 2 * 10 * 2, "two evaluations a step of each of two trajectories"
    for seed in range(5):
        stage.losses(method, seed)
    assert stage.adapter.meter.frozen == spent


# ---- SDD -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("teacher", ["self", "original"])
def test_sdd_is_its_formula(teacher: str) -> None:
    method = SDD(teacher=teacher, **FEW)
    stage = Stage(method, splits=request(preserve=()))
    noisy, t, _, empty = stage.points(stage.batch.forget)
    target = stage.student(noisy, t, [""] * 2) if teacher == "self" else empty
    expected = mse(stage.student(noisy, t, ["a cat"] * 2), target)
    assert stage.losses(method) == pytest.approx({"forget": expected}, rel=1e-4)


def test_sdd_s_own_target_gets_no_gradient() -> None:
    method = SDD(**FEW)
    stage = Stage(method, splits=request(preserve=()))
    noisy, t, _, _ = stage.points(stage.batch.forget)
    target = stage.student(noisy, t, [""] * 2).detach()
    (stage.student(noisy, t, ["a cat"] * 2) - target).square().flatten(1).mean(1).sum().backward()
    bias = stage.adapter.network.conv_out.bias
    expected, bias.grad = bias.grad.clone(), None
    method.loss(stage.batch, stage.adapter, stage.reference)["forget"].sum.backward()
    torch.testing.assert_close(bias.grad, expected)


# ---- Concept Ablation ----------------------------------------------------------------------------------


@pytest.mark.parametrize("teacher", ["self", "original"])
def test_concept_ablation_matches_the_anchor_on_the_anchor_s_images(teacher: str) -> None:
    method = ConceptAblation(teacher=teacher, prior_weight=0.3, **IMAGES)
    stage = Stage(method, splits=request(preserve=()))
    noised = stage.images(stage.batch.forget)
    texts = stage.adapter.prompts.texts
    assert {texts[i] for i in stage.batch.forget["prompt"].tolist()} == {"a dog"}
    place = (noised.latents, noised.timesteps)
    teach = stage.student if teacher == "self" else stage.teacher
    expected = {
        "forget": mse(stage.student(*place, ["a cat"] * 2), teach(*place, ["a dog"] * 2)),
        "prior": 0.3 * mse(stage.student(*place, ["a dog"] * 2), noised.target),
    }
    assert stage.losses(method) == pytest.approx(expected, rel=1e-4)


def test_concept_ablation_on_noise() -> None:
    method = ConceptAblation(target="noise", **IMAGES)
    stage = Stage(method, splits=request(preserve=()))
    noised = stage.images(stage.batch.forget)
    expected = mse(stage.student(noised.latents, noised.timesteps, ["a cat"] * 2), noised.target)
    assert stage.losses(method) == pytest.approx({"forget": expected}, rel=1e-4)


def test_preserved_images_keep_the_original_s_answers() -> None:
    method = ConceptAblation(preserve_weight=2.0, **IMAGES)
    stage = Stage(method)
    noised = stage.images(stage.batch.retain)
    place = (noised.latents, noised.timesteps)
    expected = 2 * mse(stage.student(*place, ["a church"] * 2), stage.teacher(*place, ["a church"] * 2))
    assert stage.losses(method)["preserve"] == pytest.approx(expected, rel=1e-4)


# ---- Forget-Me-Not -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tokens", "columns"), [("own", slice(2, 4)), ("all", slice(2, None))])
def test_forget_me_not_is_the_norm_of_all_attention_to_the_concept(tokens: str, columns: slice) -> None:
    method = ForgetMeNot(tokens=tokens, **IMAGES)
    stage = Stage(method, splits=request(("red cat",), preserve=()))
    noised = stage.images(stage.batch.forget)
    whole: list[Tensor] = []
    layers = [part for name, part in stage.adapter.network.named_modules() if name.endswith("attn2")]

    def watch(layer: Any, given: Any, options: Any) -> None:
        query = layer.head_to_batch_dim(layer.to_q(given[0]))
        key = layer.head_to_batch_dim(layer.to_k(options["encoder_hidden_states"]))
        scores = layer.get_attention_scores(query, key).unflatten(0, (2, -1))
        whole.append(scores[..., columns])  # <start> a [red cat] <end>

    handles = [layer.register_forward_pre_hook(watch, with_kwargs=True) for layer in layers]
    stage.student(noised.latents, noised.timesteps, ["a red cat"] * 2)
    for handle in handles:
        handle.remove()
    expected = torch.cat([part.flatten(1) for part in whole], 1).norm(dim=1).mean()
    assert stage.losses(method)["forget"] == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("method", [ForgetMeNot(**IMAGES), Receler(**FEW)])
def test_attention_losses_need_cross_attention(method: Objective) -> None:
    stage = Stage(method, "flux")
    with pytest.raises(NeedNotMet, match="FluxPipeline has joint attention instead of cross-attention"):
        stage.losses(method)


# ---- SalUn's loss and EraseDiff ------------------------------------------------------------------------


def test_random_concept_relabels_and_trains_the_rest() -> None:
    method = RandomConcept(preserve_weight=0.1, **IMAGES)
    stage = Stage(method)
    stage.batch = Batch(*(with_latents(stage, side) for _, side in stage.batch.sides()))
    noised = stage.images(stage.batch.forget)
    place = (noised.latents, noised.timesteps)
    forget = mse(stage.student(*place, ["a cat"] * 2), stage.student(*place, ["a dog"] * 2))
    noised = stage.images(stage.batch.retain)
    preserve = mse(stage.student(noised.latents, noised.timesteps, ["a church"] * 2), noised.target)
    assert stage.losses(method) == pytest.approx({"forget": forget, "preserve": 0.1 * preserve}, rel=1e-4)


def with_latents(stage: Stage, examples: Examples) -> Examples:
    tensors = {**examples.tensors, "latents": stage.reference.ask("clean_latents", examples)}
    return Examples(examples.ids, examples.weight, tensors)


def test_erase_diff_is_its_formula() -> None:
    method = EraseDiff(forget_weight=0.2, **IMAGES)
    stage = Stage(method)
    noised = stage.images(stage.batch.forget)
    place = (noised.latents, noised.timesteps)
    forget = mse(stage.student(*place, ["a cat"] * 2), stage.student(*place, ["a dog"] * 2))
    noised = stage.images(stage.batch.retain)
    retain = mse(stage.student(noised.latents, noised.timesteps, ["a church"] * 2), noised.target)
    assert stage.losses(method) == pytest.approx({"forget": 0.2 * forget, "retain": retain}, rel=1e-4)


def test_without_an_anchor_a_preserved_concept_is_read() -> None:
    method = EraseDiff(**IMAGES)
    stage = Stage(method, splits=request(("cat",)))
    anchors = {stage.adapter.prompts.texts[i] for i in stage.batch.forget["anchor"].tolist()}
    assert anchors == {"a church"}


def test_inner_steps_of_erase_diff_change_no_gradient() -> None:
    """With real inner steps, ``L_r + lam (L_f - L_f(theta^K))`` has the gradient of ``L_r + lam L_f``."""
    method = EraseDiff(forget_weight=0.5, **IMAGES)
    stage = Stage(method)
    weights = [p for p in stage.adapter.network.parameters() if p.requires_grad]

    def total() -> Tensor:
        torch.manual_seed(5)
        terms = method.loss(stage.batch, stage.adapter, stage.reference)
        return sum((term.coefficient * term.sum for term in terms.values()), torch.zeros(()))

    ours = torch.autograd.grad(total(), weights, allow_unused=True)
    start = [weight.detach().clone() for weight in weights]
    for _ in range(2):  # inner passes on the forgetting loss alone
        torch.manual_seed(5)
        inner = method.loss(Batch(stage.batch.forget), stage.adapter, stage.reference)["forget"].sum
        for weight, gradient in zip(weights, torch.autograd.grad(inner, weights, allow_unused=True), strict=True):
            if gradient is not None:
                weight.data -= 1e-2 * gradient
    torch.manual_seed(5)
    best = method.loss(Batch(stage.batch.forget), stage.adapter, stage.reference)["forget"].sum.detach()
    for weight, value in zip(weights, start, strict=True):
        weight.data.copy_(value)
    published = torch.autograd.grad(total() - 0.5 * best, weights, allow_unused=True)
    for one, other in zip(ours, published, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert torch.equal(one, other)


def test_the_adaptive_weight_is_eta_less_the_agreement_of_the_gradients() -> None:
    method = EraseDiff(balance="adaptive", forget_weight=0.1, **IMAGES)
    stage = Stage(method)
    weights = [p for p in stage.adapter.network.parameters() if p.requires_grad]
    torch.manual_seed(5)
    fixed = EraseDiff(forget_weight=1.0, **IMAGES).loss(stage.batch, stage.adapter, stage.reference)
    sides = [
        torch.cat(
            [
                g.flatten()
                for g in torch.autograd.grad(fixed[n].sum, weights, allow_unused=True, retain_graph=True)
                if g is not None
            ]
        )
        for n in ("retain", "forget")
    ]
    agreement = float(torch.nn.functional.cosine_similarity(*sides, dim=0))
    torch.manual_seed(5)
    terms = method.loss(stage.batch, stage.adapter, stage.reference)
    assert terms["forget"].coefficient == pytest.approx(max(0.1 - agreement, 0.0), abs=1e-4)


# ---- SPM, AdvUnlearn, Receler --------------------------------------------------------------------------


def test_spm_reads_its_anchors_at_the_concept_s_latents() -> None:
    method = SPM(strength=1.0, preserve_weight=10.0, **FEW)
    stage = Stage(method, splits=request(preserve=("church", "van gogh")))
    assert stage.adapter.meter.frozen == 2 * 4, "both sides share one trajectory of four steps"
    noisy, t, conditional, empty = stage.points(stage.batch.forget)
    forget = mse(stage.student(noisy, t, ["a cat"] * 2), empty - (conditional - empty))
    anchors = ["a church", "a van gogh"]
    preserve = mse(stage.student(noisy, t, anchors), stage.teacher(noisy, t, anchors))
    assert stage.losses(method) == pytest.approx({"forget": forget, "preserve": 10 * preserve}, rel=1e-3)


def test_spm_needs_anchors() -> None:
    with pytest.raises(NeedNotMet, match="'spm' needs anchors"):
        SPM().prepare(request(preserve=()), seed=0)


def test_adv_unlearn_without_an_attack_is_the_paper_s_esd() -> None:
    method = AdvUnlearn(attack_steps=0, strength=1.0, **FEW)
    stage = Stage(method)
    assert stage.losses(method) == pytest.approx(stage.losses(ESD(strength=1.0, source="empty", **FEW)), rel=1e-5)


def test_adv_unlearn_erases_the_embedding_that_its_attack_finds() -> None:
    method = AdvUnlearn(attack_steps=3, attack_rate=0.05, attack_radius=0.1, **FEW)
    stage = Stage(method, splits=request(preserve=()))
    noisy, t, conditional, empty = stage.points(stage.batch.forget)
    prompt = stage.adapter.encode_prompts(["a cat"] * 2)

    def recovery(tokens: Tensor) -> Tensor:
        output = stage.adapter.predict(noisy, t, prompt.with_tokens(tokens))
        return (output - conditional).square().flatten(1).mean(1)

    attack = EmbeddingAttack(steps=3, learning_rate=0.05, rule="sign", radius=0.1)
    found = attack.run(prompt.tokens, recovery)
    assert (found - prompt.tokens).abs().max() <= 0.1 + 1e-6
    expected = mse(stage.adapter.predict(noisy, t, prompt.with_tokens(found)), 2 * empty - conditional)
    assert stage.losses(method)["forget"] == pytest.approx(expected, rel=1e-3)
    assert all(p.grad is None for p in stage.adapter.network.parameters())


def test_receler_erases_an_adversarial_prompt_and_holds_what_is_outside_the_concept() -> None:
    stage = Stage(Receler(**FEW), splits=request(preserve=()))
    noisy, t, conditional, empty = stage.points(stage.batch.forget)
    tensors = {**stage.batch.forget.tensors, "noisy": noisy, "timesteps": t}
    picture = stage.reference.ask("concept_map", Examples(stage.batch.forget.ids, stage.batch.forget.weight, tensors))
    half = float(picture.median())  # these random weights look nearly everywhere alike
    method = Receler(attack_steps=2, attack_tokens=4, local_weight=0.5, mask_threshold=half, **FEW)
    prompt = stage.adapter.encode_prompts(["a cat"] * 2)

    def at(tokens: Tensor) -> Tensor:
        given = prompt.with_tokens(torch.cat([prompt.tokens[:, :-4], tokens], 1))
        return stage.adapter.predict(noisy, t, given)

    attack = EmbeddingAttack(steps=2, learning_rate=0.1, weight_decay=0.1)
    found = attack.run(prompt.tokens[:, -4:], lambda x: (at(x) - conditional).square().flatten(1).mean(1))
    output = at(found)
    outside = (picture <= half).unsqueeze(1)
    assert 0 < outside.float().mean() < 1
    expected = {
        "forget": mse(output, 2 * empty - conditional),
        "local": 0.5 * float(((output - conditional) * outside).square().mean()),
    }
    assert stage.losses(method) == pytest.approx(expected, rel=1e-3)


def test_no_concepts_no_training() -> None:
    for method in (
        ESD(),
        SDD(),
        ConceptAblation(),
        ForgetMeNot(),
        EraseDiff(),
        SPM(),
        AdvUnlearn(),
        Receler(),
    ):
        with pytest.raises(DataError, match="nothing to forget"):
            method.prepare(Splits(forget=[], retain=request().retain), seed=0)
