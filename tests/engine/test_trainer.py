"""Training as a method sees it: phases, marks, fuse, an early end, a failure."""

from __future__ import annotations

import math
from typing import ClassVar

import pytest
import torch
from safetensors import safe_open

from genunlearn.config import ParametersConfig, TrainConfig
from genunlearn.contracts import Needs, Objective, Term
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.engine import parameters
from genunlearn.engine.checkpoints import Checkpoints
from genunlearn.engine.trainer import Trainer
from genunlearn.errors import NonFiniteLoss
from genunlearn.methods.general.grad_diff import GradDiff
from genunlearn.methods.lm.npo import NPO
from tests.tiny_models import TAUGHT, build, teach
from tests.worlds import lm_splits

LORA = ParametersConfig(rank=4)
FAST = TrainConfig(learning_rate=1e-2, batch_size=4, max_steps=4, save_every=2)


def snapshot(trainer: Trainer) -> dict[str, torch.Tensor]:
    weights = parameters.trainable(trainer.domain.network)
    return {name: weight.detach().clone() for name, weight in weights.items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def make(world, **options) -> Trainer:
    return Trainer(world.open(), options.pop("train", FAST), options.pop("trained", LORA), seed=3, **options)


def test_phases_add_up_and_differ(world):
    trainer = make(world)
    trainer(GradDiff(), world.splits)
    trainer(GradDiff(), world.splits, steps=2)
    assert trainer.steps_done == 6
    assert [entry["step"] for entry in trainer.history] == [1, 2, 3, 4, 1, 2]
    assert all(entry["loss"] == pytest.approx(entry["forget"] + entry["retain"]) for entry in trainer.history)


def test_a_phase_may_have_a_rate_of_its_own(world):
    # The schedule keeps its shape, here linear over 2 steps, and later phases have the configured rate again.
    trainer = make(world, train=TrainConfig(learning_rate=1e-2, batch_size=4, max_steps=2, schedule="linear"))
    trainer(GradDiff(), world.splits, learning_rate=4e-3)
    trainer(GradDiff(), world.splits)
    assert [entry["learning_rate"] for entry in trainer.history] == pytest.approx([4e-3, 2e-3, 1e-2, 5e-3])
    assert trainer.settings.learning_rate == 1e-2


def test_a_rate_of_a_phases_own_survives_a_resume(world, tmp_path):
    def phases(trainer, second):
        trainer(GradDiff(), world.splits)
        trainer(second, world.splits, learning_rate=1e-3)

    straight, interrupted = make(world), make(world, state=tmp_path)
    phases(straight, GradDiff())
    with pytest.raises(KeyboardInterrupt):
        phases(interrupted, Interrupted(GradDiff(), at=4))
    resumed = make(world, state=tmp_path)
    phases(resumed, GradDiff())
    assert same(snapshot(resumed), snapshot(straight))
    assert resumed.history == straight.history


def test_only_the_lora_moves(world):
    trainer = make(world)
    base = world.open().module.state_dict()
    lora = snapshot(trainer)
    trainer(GradDiff(), world.splits)
    assert not same(snapshot(trainer), lora)
    plain = {
        name.removeprefix("base_model.model.").replace(".base_layer", ""): weight
        for name, weight in trainer.domain.network.named_parameters()
        if not weight.requires_grad
    }
    assert plain.keys() == base.keys()
    assert all(torch.equal(base[name], weight) for name, weight in plain.items())


def test_the_same_seed_twice_gives_the_same_weights(world):
    trainers = [make(world) for _ in range(2)]
    for trainer in trainers:
        torch.rand(1)
        trainer(GradDiff(), world.splits)
    assert same(*map(snapshot, trainers))
    other = Trainer(world.open(), FAST, LORA, seed=4)
    other(GradDiff(), world.splits)
    assert not same(snapshot(trainers[0]), snapshot(other))


def test_a_check_ends_the_phase(world):
    asked: list[int] = []
    trainer = make(world, train=TrainConfig(max_steps=9, check_every=2, learning_rate=1e-2))
    trainer(GradDiff(), world.splits, check=lambda done: asked.append(done) or done >= 4)
    assert asked == [2, 4]
    assert trainer.steps_done == 4


# ---- mark, back and fuse --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_back_takes_back_every_phase_since_the_mark(world, kind):
    trainer = make(
        world, trained=ParametersConfig(kind=kind, rank=4), train=TrainConfig(learning_rate=1e-3, max_steps=2)
    )
    trainer(GradDiff(), world.splits)
    before = snapshot(trainer)
    trainer.mark()
    for _ in range(2):
        trainer(GradDiff(), world.splits)
    assert not same(snapshot(trainer), before)
    trainer.back()
    assert same(snapshot(trainer), before)


def test_marks_survive_a_resume(world, tmp_path):
    def work(trainer, last):
        trainer.mark()
        for objective in (GradDiff(), last):
            trainer(objective, world.splits)
            trainer.back()  # each phase begins where the first one did
            trainer.mark()
        trainer(GradDiff(), world.splits)

    straight, interrupted = make(world), make(world, state=tmp_path)
    work(straight, GradDiff())
    with pytest.raises(KeyboardInterrupt):
        work(interrupted, Interrupted(GradDiff(), at=3))
    resumed = make(world, state=tmp_path)
    work(resumed, GradDiff())
    assert same(snapshot(resumed), snapshot(straight))


def test_fusing_changes_the_weights_and_not_what_the_model_says(world):
    trainer = make(world)
    trainer(GradDiff(), world.splits)
    examples = trainer.domain.collate(world.splits.forget)
    expected = trainer.domain.output_logits(examples).detach()
    trainer.fuse()
    assert torch.allclose(trainer.domain.output_logits(examples), expected, atol=1e-4)
    fresh = parameters.trainable(trainer.domain.network)
    assert all(weight.abs().sum() == 0 for name, weight in fresh.items() if "lora_B" in name)
    name = "model.layers.0.mlp.up_proj"
    base = world.open().module.get_submodule(name).weight
    assert not torch.equal(trainer.domain.network.base_model.model.get_submodule(name).base_layer.weight, base)


def test_back_after_a_fused_phase_takes_back_the_later_one(world):
    trainer = make(world)
    trainer(GradDiff(), world.splits)
    trainer.fuse()
    trainer.mark()
    examples = trainer.domain.collate(world.splits.forget)
    expected = trainer.domain.output_logits(examples).detach()
    trainer(GradDiff(), world.splits)
    assert not torch.allclose(trainer.domain.output_logits(examples), expected, atol=1e-2)
    trainer.back()
    assert torch.equal(trainer.domain.output_logits(examples), expected)


def test_what_is_fused_cannot_be_taken_back(world):
    trainer = make(world)
    trainer.mark()
    trainer(GradDiff(), world.splits)
    trainer.fuse()
    with pytest.raises(RuntimeError, match="back after fuse"):
        trainer.back()


# ---- going on -------------------------------------------------------------------------------------------------


class Refusing(Objective):
    """A loss that must not be asked for."""

    name: ClassVar[str] = "refusing"
    domains: ClassVar[frozenset[str]] = frozenset({"lm"})

    def loss(self, batch, model, reference):
        raise AssertionError("trained again")


def test_finished_phases_are_not_done_again(world, tmp_path):
    first = make(world, state=tmp_path)
    for _ in range(2):
        first(GradDiff(), world.splits)
    again = make(world, state=tmp_path)
    for _ in range(2):
        again(Refusing(), world.splits)
    assert same(snapshot(first), snapshot(again))
    assert again.history == first.history
    for trainer in (first, again):
        trainer(GradDiff(), world.splits)
    assert same(snapshot(first), snapshot(again))


def test_fused_phases_are_found_again(world, tmp_path):
    first = make(world, state=tmp_path)
    again = None
    for trainer in (first, again := make(world, state=tmp_path / "other")):
        trainer(GradDiff(), world.splits)
        trainer.fuse()
        trainer(GradDiff(), world.splits, steps=2)
    resumed = make(world, state=tmp_path)
    resumed(Refusing(), world.splits)
    resumed.fuse()
    resumed(Refusing(), world.splits, steps=2)
    for trainer in (again, resumed):
        weights = dict(trainer.domain.network.named_parameters())
        expected = dict(first.domain.network.named_parameters())
        assert all(torch.equal(expected[name], weight) for name, weight in weights.items())


class Anchored(Objective):
    """The distance to the reference in what is never cached."""

    name: ClassVar[str] = "anchored"
    domains: ClassVar[frozenset[str]] = frozenset({"lm"})
    needs: ClassVar[Needs] = Needs(reference=True)

    def loss(self, batch, model, reference):
        gap = model.sequence_nll(batch.forget) - reference.ask("sequence_nll", batch.forget)
        return {"forget": Term.of(-gap, batch.forget, "forget")}


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_the_reference_of_a_resumed_phase_is_where_the_phase_began(world, tmp_path, kind):
    # In the second phase the frozen copy of full weights is the result of the first, also after a resume in its middle.
    options = {"trained": ParametersConfig(kind=kind, rank=4)}
    train = TrainConfig(learning_rate=1e-3, max_steps=4, save_every=2)
    straight = make(world, train=train, **options)
    for _ in range(2):
        straight(Anchored(), world.splits)

    interrupted = make(world, train=train, state=tmp_path, **options)
    interrupted(Anchored(), world.splits)
    with pytest.raises(KeyboardInterrupt):
        interrupted(Interrupted(Anchored(), at=4), world.splits)
    assert Checkpoints(tmp_path).position().step == 2
    resumed = make(world, train=train, state=tmp_path, **options)
    for _ in range(2):
        resumed(Anchored(), world.splits)
    assert resumed.history == straight.history
    assert same(snapshot(resumed), snapshot(straight))


@pytest.mark.slow
def test_an_eight_bit_optimiser_goes_on_where_it_stopped(world, tmp_path):
    # Its state lies two levels deep, and is in 8 bits only for weights of 4096 elements and more.
    pytest.importorskip("bitsandbytes")
    options = {
        "train": TrainConfig(optimizer="adamw_8bit", learning_rate=5e-3, max_steps=6, save_every=2),
        "trained": ParametersConfig(rank=64),
    }
    straight = make(world, **options)
    straight(GradDiff(), world.splits)
    interrupted = make(world, state=tmp_path, **options)
    with pytest.raises(KeyboardInterrupt):
        interrupted(Interrupted(GradDiff(), at=4), world.splits)
    with safe_open(tmp_path / "state.safetensors", "pt") as file:
        assert any(file.get_tensor(name).dtype == torch.uint8 for name in file.keys())  # noqa: SIM118
    resumed = make(world, state=tmp_path, **options)
    resumed(GradDiff(), world.splits)
    assert same(snapshot(resumed), snapshot(straight))
    assert resumed.history == straight.history


@pytest.mark.slow
def test_a_four_bit_base_is_trained_and_its_patch_fits_the_whole_one(tmp_path):
    pytest.importorskip("bitsandbytes")
    folder = teach(build("llama", tmp_path / "model", width=64), TAUGHT)
    model = LanguageModel.load(str(folder), device="cpu", quantize="nf4")
    assert model.answer([TAUGHT[0][0]]) == ["Hogwarts."]
    trainer = Trainer(model, TrainConfig(max_steps=8, learning_rate=5e-3), LORA, seed=0)
    trainer(NPO(), lm_splits())
    questions, answers = zip(*TAUGHT, strict=True)
    told = [said == answer for said, answer in zip(model.answer(questions), answers, strict=True)]
    assert told == [False, False, True, True, True]
    parameters.save_patch(model, tmp_path / "patch")
    whole = LanguageModel.load(str(folder), device="cpu")
    parameters.load_patch(whole, tmp_path / "patch")
    assert [said == answer for said, answer in zip(whole.answer(questions), answers, strict=True)] == told


class Interrupted(Objective):
    """Another objective, until the person at the keyboard has had enough."""

    name: ClassVar[str] = "interrupted"
    domains: ClassVar[frozenset[str]] = frozenset({"lm"})

    def __init__(self, inner: Objective, at: int) -> None:
        self.inner, self.at, self.needs = inner, at, inner.needs
        self.reference_scores, self.model_scores = inner.reference_scores, inner.model_scores
        self.calls = 0

    def loss(self, batch, model, reference):
        self.calls += 1
        if self.calls == self.at:
            raise KeyboardInterrupt
        return self.inner.loss(batch, model, reference)


class Failing(GradDiff):
    """A loss that becomes NaN at its fourth step."""

    calls: ClassVar[list[int]] = []

    def loss(self, batch, model, reference):
        self.calls.append(1)
        terms = dict(super().loss(batch, model, reference))
        if len(self.calls) == 4:
            terms["forget"] = Term(terms["forget"].sum * math.nan, "forget")
        return terms


def test_a_failure_keeps_the_last_good_state(world, tmp_path):
    expected = make(world, train=TrainConfig(learning_rate=1e-2, max_steps=9))
    expected(GradDiff(), world.splits, steps=3)
    trainer = make(world, train=TrainConfig(learning_rate=1e-2, max_steps=9, save_every=100), state=tmp_path)
    Failing.calls.clear()
    with pytest.raises(NonFiniteLoss, match="step 4: term 'forget' = nan"):
        trainer(Failing(), world.splits)
    assert same(snapshot(trainer), snapshot(expected))
    assert Checkpoints(tmp_path).position().step == 3
    Checkpoints(tmp_path).restore(trainer.domain.network)
    assert same(snapshot(trainer), snapshot(expected))
