"""The frozen model inside a loss: three strategies, one answer."""

from __future__ import annotations

import pytest
import torch

from genunlearn.config import ParametersConfig, TrainConfig
from genunlearn.engine import parameters
from genunlearn.engine.reference import AdapterOff, CachedScores, FrozenCopy, make_reference
from genunlearn.engine.trainer import Trainer
from genunlearn.methods.general.grad_diff import GradDiff
from genunlearn.methods.lm.npo import NPO

NAMES = ("sequence_nll", "example_loss")


class Counting:
    """A reference that counts how often it is asked."""

    def __init__(self, source) -> None:
        self.source, self.asked = source, []

    def ask(self, name, examples):
        self.asked.append((name, examples.ids))
        return self.source.ask(name, examples)


@pytest.fixture
def trained(world):
    """A model whose LoRA has moved, and what its frozen weights say of all items."""
    model = world.open()
    examples = model.collate([*world.splits.forget, *world.splits.retain])
    expected = {name: getattr(model, name)(examples).detach() for name in NAMES}
    Trainer(model, TrainConfig(max_steps=3, learning_rate=1e-2), ParametersConfig(rank=4), seed=0)(
        GradDiff(), world.splits
    )
    assert not torch.allclose(model.sequence_nll(examples), expected["sequence_nll"], atol=1e-2)
    return model, examples, expected


@pytest.mark.parametrize("name", NAMES)
def test_switching_the_adapter_off_gives_the_frozen_weights(trained, name):
    model, examples, expected = trained
    model.module.train()
    answer = AdapterOff(model).ask(name, examples)
    assert torch.allclose(answer, expected[name], atol=1e-5)
    assert not answer.requires_grad
    assert model.module.training
    assert getattr(model, name)(examples).requires_grad


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_stays_what_it_was(world, name):
    model = world.open()
    reference = FrozenCopy(model)
    examples = model.collate(world.splits.forget)
    expected = getattr(model, name)(examples).detach()
    with torch.no_grad():
        for weight in model.module.parameters():
            weight.mul_(1.1)
    assert torch.allclose(reference.ask(name, examples), expected, atol=1e-6)
    assert not torch.allclose(getattr(model, name)(examples), expected, atol=1e-3)


def test_cached_scores_are_the_sources_and_come_from_one_pass(world, trained):
    model, _, expected = trained
    source = Counting(AdapterOff(model))
    cached = CachedScores(source)
    cached.fill(NPO(), world.splits, model, batch_size=2)
    assert [ids for _, ids in source.asked] == [("q0", "q1")]
    forget = model.collate(world.splits.forget)
    assert torch.allclose(cached.ask("sequence_nll", forget), expected["sequence_nll"][:2], atol=1e-5)
    cached.fill(NPO(), world.splits, model, batch_size=2)
    assert len(source.asked) == 1


def test_what_is_not_cached_is_asked_of_the_source(world, trained):
    model, examples, expected = trained
    source = Counting(AdapterOff(model))
    cached = CachedScores(source)
    cached.fill(NPO(), world.splits, model, batch_size=8)
    answers = cached.ask("sequence_nll", examples)  # two of the five are cached
    assert source.asked[-1] == ("sequence_nll", examples.ids)
    assert torch.allclose(answers, expected["sequence_nll"], atol=1e-5)
    cached.ask("example_loss", model.collate(world.splits.forget))
    assert source.asked[-1][0] == "example_loss"


def test_a_cached_file_is_used_again(world, trained, tmp_path):
    model, *_ = trained
    path = tmp_path / "state" / "reference.safetensors"
    first = CachedScores(AdapterOff(model), path)
    first.fill(NPO(), world.splits, model, batch_size=8)
    source = Counting(AdapterOff(model))
    second = CachedScores(source, path)
    second.fill(NPO(), world.splits, model, batch_size=8)
    forget = model.collate(world.splits.forget)
    assert torch.equal(second.ask("sequence_nll", forget), first.ask("sequence_nll", forget))
    assert source.asked == []
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_no_gradient_reaches_the_reference(world, kind):
    model = world.open()
    parameters.attach(model, ParametersConfig(kind=kind, rank=4), seed=0)
    reference = make_reference(model, kind)
    batch = world.batch(model)
    terms = NPO().loss(batch, model, reference)
    sum(term.coefficient * term.sum for term in terms.values()).backward()
    frozen = [p for p in model.module.parameters() if not p.requires_grad]
    if kind == "full":
        assert not frozen
        frozen = list(reference._source._frozen.module.parameters())
        assert not any(p.requires_grad for p in frozen)
    assert frozen
    assert all(p.grad is None for p in frozen)


def test_the_reference_of_lora_needs_no_second_model(world):
    model = world.open()
    parameters.attach(model, ParametersConfig(rank=4), seed=0)
    assert isinstance(make_reference(model, "lora")._source, AdapterOff)
    assert isinstance(make_reference(model, "full")._source, FrozenCopy)
