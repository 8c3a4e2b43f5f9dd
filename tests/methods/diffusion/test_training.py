"""Methods in the real training loop: they train what they should, and resume where they were."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from genunlearn.config import ParametersConfig, TrainConfig
from genunlearn.contracts import Batch, Objective, Outcome, Protocol, Splits
from genunlearn.data.diffusion.concepts import forget_prompts, images_of, parse_concepts, preserve_prompts, swapped
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.sampling import Sampling
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.engine.journal import FileJournal
from genunlearn.engine.trainer import Trainer
from genunlearn.errors import DataError, MismatchError, NeedNotMet
from genunlearn.methods.diffusion.adv_unlearn import AdvUnlearn
from genunlearn.methods.diffusion.concept_ablation import ConceptAblation
from genunlearn.methods.diffusion.erase_diff import EraseDiff
from genunlearn.methods.diffusion.esd import ESD
from genunlearn.methods.diffusion.forget_me_not import ForgetMeNot
from genunlearn.methods.diffusion.receler import Receler
from genunlearn.methods.diffusion.salun import SalUn
from genunlearn.methods.diffusion.sdd import SDD
from genunlearn.methods.diffusion.selective_amnesia import Anchored, SelectiveAmnesia
from genunlearn.methods.diffusion.spm import SPM
from genunlearn.methods.general.grad_ascent import GradAscent
from tests.tiny_pipelines import MAX_TOKENS, tiny

FEW: dict[str, Any] = {"trajectories": 1, "steps": 3}
IMAGES: dict[str, Any] = {"images": 2, "image_steps": 2, "image_guidance": 2.0}
METHODS: dict[str, Any] = {
    "esd": ESD(**FEW),
    "sdd": SDD(**FEW),
    "concept_ablation": ConceptAblation(**IMAGES),
    "forget_me_not": ForgetMeNot(**IMAGES),
    "erase_diff": EraseDiff(forget_weight=1.0, **IMAGES),
    "spm": SPM(preserve_weight=1.0, **FEW),
    "adv_unlearn": AdvUnlearn(attack_steps=1, **FEW),
    "receler": Receler(attack_steps=1, attack_tokens=3, **FEW),
    "salun": SalUn(**IMAGES),
    "selective_amnesia": SelectiveAmnesia(penalty_weight=1.0, fisher_draws=1, **IMAGES),
}
SETTINGS = {"batch_size": 2, "max_steps": 4, "learning_rate": 1e-3, "save_every": 1}


def model(family: str = "sd1") -> Diffusion:
    return Diffusion(tiny(family), text_length=MAX_TOKENS)


def request(preserve: tuple[str, ...] = ("church",)) -> Splits:
    erasure = parse_concepts(["cat -> dog"], preserve, ["a {}"])
    return Splits(forget=forget_prompts(erasure), retain=preserve_prompts(erasure) or None)


def train(
    adapter: Diffusion,
    method: Any,
    splits: Splits,
    *,
    kind: str = "full",
    state: Path | None = None,
    **settings: Any,
) -> tuple[Trainer, Outcome | None]:
    """Carry a method out as a run does."""
    chosen = ParametersConfig(kind=kind, rank=2, alpha=2, target_modules=getattr(method, "parameters", "x"))
    trainer = Trainer(adapter, TrainConfig(**{**SETTINGS, **settings}), chosen, seed=0, state=state)
    if isinstance(method, Protocol):
        return trainer, method.run(trainer, adapter, splits, FileJournal(None))
    assert isinstance(method, Objective)
    trainer(method, method.prepare(splits, seed=1))
    return trainer, None


def weights(adapter: Diffusion) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in adapter.network.named_parameters()}


@pytest.mark.parametrize("name", METHODS)
def test_only_the_chosen_weights_move(name: str) -> None:
    adapter, method = model(), METHODS[name]
    before = weights(adapter)
    chosen = set(adapter.parameter_names(method.parameters))
    train(adapter, method, request())
    moved = {n for n, weight in weights(adapter).items() if not torch.equal(weight, before[n])}
    assert moved
    assert moved <= chosen


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in METHODS if name != "salun"])
def test_a_lora_is_trained_beside_frozen_weights_and_exported(name: str, tmp_path: Path) -> None:
    adapter, method = model(), METHODS[name]
    before = {k.replace(".base_layer", ""): v for k, v in weights(adapter).items()}
    train(adapter, method, request(), kind="lora")
    after = {k.removeprefix("base_model.model.").replace(".base_layer", ""): v for k, v in weights(adapter).items()}
    assert all(torch.equal(after[k], before[k]) for k in before)
    look = Sampling(steps=2, guidance=2.0)
    images = adapter.images(["a cat"], [1], look)
    assert not torch.equal(images, model().images(["a cat"], [1], look))
    adapter.export(tmp_path)
    plain = tiny("sd1")
    plain.load_lora_weights(tmp_path)
    torch.testing.assert_close(Diffusion(plain).images(["a cat"], [1], look), images, atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", ["sd2", "sdxl", "sd3", "flux"])
@pytest.mark.parametrize("name", ["esd", "concept_ablation", "spm"])
def test_every_family_is_trained(family: str, name: str) -> None:
    adapter, method = model(family), METHODS[name]
    trainer, _ = train(adapter, method, request(), learning_rate=1e-2, max_steps=8)
    assert trainer.history[-1]["grad_norm"] > 0
    assert set(trainer.history[0]) >= {"forget", "preserve"}


@pytest.mark.parametrize("name", ["esd", "sdd", "concept_ablation", "forget_me_not", "spm"])
def test_the_forgetting_loss_falls(name: str) -> None:
    trainer, _ = train(model(), METHODS[name], request(), learning_rate=5e-3, max_steps=15)
    losses = [entry["forget"] for entry in trainer.history]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


@pytest.mark.parametrize("name", ["esd", "concept_ablation", "salun"])
def test_a_killed_run_resumes_to_the_same_weights(name: str, tmp_path: Path) -> None:
    whole = model()
    train(whole, METHODS[name], request(), state=tmp_path / "whole")
    killed = model()

    class Killed(Exception):
        pass

    def kill(module: Any, given: Any, count: list[int] = [0]) -> None:  # noqa: B006
        count[0] += module.training
        if count[0] == 7:
            raise Killed

    handle = killed.network.register_forward_pre_hook(kill)
    with pytest.raises(Killed):
        train(killed, METHODS[name], request(), state=tmp_path / "killed")
    handle.remove()
    assert any((tmp_path / "killed").iterdir())
    resumed = model()
    train(resumed, METHODS[name], request(), state=tmp_path / "killed")
    mine = weights(resumed)
    assert all(torch.equal(weight, mine[n]) for n, weight in weights(whole).items())


def test_a_batch_in_parts_gives_the_same_step() -> None:
    whole, parts = model(), model()
    train(parts, METHODS["esd"], request(), max_steps=2, batch_size=1, accumulation=2)
    train(whole, METHODS["esd"], request(), max_steps=2, batch_size=2, accumulation=1)
    mine = weights(whole)
    for name, weight in weights(parts).items():
        torch.testing.assert_close(weight, mine[name], atol=1e-5, rtol=1e-4)


# ---- SalUn ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_salun_moves_its_share_of_the_weights_and_no_other(decay: float) -> None:
    adapter = model()
    before = weights(adapter)
    method = SalUn(share=0.3, parameters="x", **IMAGES)
    _, outcome = train(adapter, method, request(), weight_decay=decay, max_steps=5)
    names = adapter.parameter_names("x")
    moved = sum(int((weights(adapter)[n] != before[n]).sum()) for n in names)
    total = sum(before[n].numel() for n in names)
    assert 0.25 * total < moved <= round(0.3 * total)
    assert outcome is not None
    assert f"of {total} weights" in outcome.reason


def test_with_masked_gradients_alone_weight_decay_moves_the_rest() -> None:
    adapter = model()
    before = weights(adapter)
    method = SalUn(share=0.3, parameters="x", hold="gradients", **IMAGES)
    train(adapter, method, request(), weight_decay=0.5, max_steps=2)
    names = adapter.parameter_names("x")
    still = sum(int((weights(adapter)[n] == before[n]).sum()) for n in names)
    assert still < 0.05 * sum(before[n].numel() for n in names)


def test_salun_s_mask_is_drawn_from_guided_predictions() -> None:
    adapter = model()
    method = SalUn(mask_guidance=2.0, parameters="x", **IMAGES)
    names = adapter.parameter_names("x")
    for name, parameter in adapter.network.named_parameters():
        parameter.requires_grad_(name in names)
    items = adapter.render(images_of(request().forget, 2, seed=0, steps=2, guidance=2.0))
    found = method._gradients(adapter, items)
    examples = adapter.collate(items)
    torch.manual_seed(method.seed)
    noised = adapter.noised(examples["latents"], examples.ids)
    cat = adapter.predict(noised.latents, noised.timesteps, adapter.embedding(examples))
    nothing = adapter.predict(noised.latents, noised.timesteps, adapter.unconditional(2))
    loss = (3 * cat - 2 * nothing - noised.target).square().flatten(1).mean(1).sum()
    loss.backward()
    for name in names:
        torch.testing.assert_close(found[name], adapter.network.get_parameter(name).grad, rtol=1e-3, atol=1e-6)


def test_salun_ranks_weights_and_not_a_lora() -> None:
    with pytest.raises(NeedNotMet, match=r"half of a fresh LoRA has none: set parameters\.kind = 'full'"):
        train(model(), METHODS["salun"], request(), kind="lora")


def test_salun_needs_another_concept() -> None:
    erasure = parse_concepts(["cat"])
    with pytest.raises(NeedNotMet, match="give an anchor"):
        train(model(), METHODS["salun"], Splits(forget=forget_prompts(erasure)))


def test_protocols_refuse_an_empty_request() -> None:
    for name in ("salun", "selective_amnesia"):
        with pytest.raises(DataError, match="nothing to forget"):
            train(model(), METHODS[name], Splits(forget=[], retain=request().retain))


# ---- Selective Amnesia ---------------------------------------------------------------------------------


def test_the_elastic_penalty_by_hand_and_in_parts() -> None:
    adapter = model()
    bias = adapter.network.conv_out.bias  # four numbers
    originals, fisher = bias.detach().clone(), torch.tensor([1.0, 2.0, 0.0, 4.0])
    with torch.no_grad():
        bias += torch.tensor([1.0, 0.5, 9.0, -1.0])
    objective = Anchored(
        fisher={"conv_out.bias": fisher},
        originals={"conv_out.bias": originals},
        replay_weight=1.0,
        penalty_weight=0.5,
    )
    items = adapter.render(images_of(swapped(request().forget), 2, seed=0, steps=2, guidance=2.0))
    # 1 * 1 + 2 * 0.25 + 0 + 4 * 1 = 5.5, once a step whether its two examples come together or one by one
    whole = objective.loss(Batch(adapter.collate(items)), adapter, None)["penalty"]
    assert float(whole.coefficient * whole.sum / 2) == pytest.approx(0.5 * 5.5, rel=1e-5)
    parts = [objective.loss(Batch(adapter.collate([item])), adapter, None)["penalty"] for item in items]
    assert float(sum(part.sum for part in parts) / 2) == pytest.approx(5.5, rel=1e-5)


def test_the_fisher_information_is_the_mean_squared_gradient() -> None:
    adapter = model()
    adapter.network.requires_grad_(True)
    items = adapter.render(images_of(request().retain, 2, seed=0, steps=2, guidance=2.0))
    method = SelectiveAmnesia(fisher_draws=2, **IMAGES)
    found = method._fisher(adapter, {"b": adapter.network.conv_out.bias}, items)["b"]
    squares = []
    for draw, item in ((0, items[0]), (0, items[1]), (1, items[0]), (1, items[1])):
        torch.manual_seed(method.seed + draw)
        loss = adapter.example_loss(adapter.collate([item])).sum()
        squares.append(torch.autograd.grad(loss, adapter.network.conv_out.bias)[0].square())
    torch.testing.assert_close(found, torch.stack(squares).mean(0))


def test_the_penalty_holds_the_weights() -> None:
    def drift(penalty: float) -> float:
        adapter = model()
        before = weights(adapter)
        method = SelectiveAmnesia(penalty_weight=penalty, replay_weight=0.0, **IMAGES)
        train(adapter, method, request(), learning_rate=1e-3, max_steps=5)
        return sum(float((w - before[n]).square().sum()) for n, w in weights(adapter).items())

    assert drift(1e6) < 0.9 * drift(0.0)


def test_a_concept_without_an_anchor_becomes_noise() -> None:
    adapter = model()
    erasure = parse_concepts(["cat"], ["church"])
    splits = Splits(forget=forget_prompts(erasure), retain=preserve_prompts(erasure))
    _, outcome = train(adapter, METHODS["selective_amnesia"], splits, max_steps=1)
    assert outcome is not None
    assert outcome.status == "trained"


# ---- general methods and bad input ---------------------------------------------------------------------


def test_general_methods_train_on_rendered_images() -> None:
    adapter = model()
    items = adapter.render(images_of(request().forget, 2, seed=0, steps=2, guidance=2.0))
    before = weights(adapter)
    trainer, _ = train(adapter, GradAscent(), Splits(forget=items), max_steps=2)
    assert [set(entry) >= {"forget"} for entry in trainer.history] == [True, True]
    assert any(not torch.equal(weight, before[n]) for n, weight in weights(adapter).items())


def test_a_pattern_that_selects_nothing_is_refused_before_training() -> None:
    for kind in ("full", "lora"):
        with pytest.raises(MismatchError, match="parameters = 'xattn' selects nothing"):
            train(model(), ESD(parameters="xattn", **FEW), request(), kind=kind)


@pytest.mark.parametrize("name", METHODS)
def test_other_domains_are_refused(name: str) -> None:
    with pytest.raises(NeedNotMet, match=f"'{name}' does not fit domain 'lm'"):
        METHODS[name].check(LanguageModel)
