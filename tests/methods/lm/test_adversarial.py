"""SAM-NPO and LAT: what the adversary does within a step, against numbers worked by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from genunlearn.config import ParametersConfig
from genunlearn.contracts import Batch, Examples
from genunlearn.domains.lm.hidden import add_at, adjusted, prompt_columns, recording
from genunlearn.engine import parameters
from genunlearn.engine.reference import AdapterOff
from genunlearn.errors import NeedNotMet
from genunlearn.methods.lm.lat import LAT, _columns, _refusal_columns
from genunlearn.methods.lm.npo import NPO
from genunlearn.methods.lm.sam_npo import SamNPO


class Wired(nn.Module):
    """The two weights as a network, so that others can be put in their place."""

    def __init__(self) -> None:
        super().__init__()
        self.x, self.y = nn.Parameter(torch.tensor([3.0])), nn.Parameter(torch.tensor([4.0]))

    def forward(self) -> torch.Tensor:
        return torch.cat([self.x, self.y])


class Bowl:
    """A model of two weights (x, y) whose answer a has NLL x^2 / 2 and answer b y^2 / 2; the reference's are 0."""

    def __init__(self) -> None:
        self.module: nn.Module = Wired()

    def sequence_nll(self, examples: Examples) -> torch.Tensor:
        which = torch.tensor(["ab".index(key) for key in examples.ids])
        return self.module()[which].square() / 2

    def ask(self, name: str, examples: Examples) -> torch.Tensor:
        return torch.zeros(len(examples))


FORGET = Batch(forget=Examples(("a", "b"), torch.ones(2), {}))


def npo(nll: float, beta: float) -> float:
    return 2 / beta * math.log(1 + math.exp(-beta * nll))


def test_each_example_is_rated_at_its_own_worst_weights():
    # NPO falls with the NLL, so its gradient points to smaller weights: x = 3 becomes 3 - 1/2, y = 4 becomes 4 - 1/2.
    term = SamNPO(rho=0.5, beta=1.0).loss(FORGET, Bowl(), Bowl())["forget"]
    assert term.sum.item() == pytest.approx(npo(2.5**2 / 2, 1.0) + npo(3.5**2 / 2, 1.0), rel=1e-5)


def test_as_published_a_batch_has_one_direction():
    # dNPO/dNLL = -2 sigma(-NLL): slopes -2 sigma(-4.5) 3 and -2 sigma(-8) 4, as one direction of length 1/2.
    slopes = [-2 / (1 + math.exp(4.5)) * 3, -2 / (1 + math.exp(8)) * 4]
    length = math.hypot(*slopes)
    x, y = 3 + 0.5 * slopes[0] / length, 4 + 0.5 * slopes[1] / length
    term = SamNPO(rho=0.5, beta=1.0, ascent="batch").loss(FORGET, Bowl(), Bowl())["forget"]
    assert term.sum.item() == pytest.approx(npo(x**2 / 2, 1.0) + npo(y**2 / 2, 1.0), rel=1e-5)


def test_the_gradient_is_the_one_at_the_worst_weights():
    # d NPO(x - 1/2) / dx = -2 sigma(-2.5^2 / 2) 2.5.
    model = Bowl()
    SamNPO(rho=0.5, beta=1.0).loss(FORGET, model, Bowl())["forget"].sum.backward()
    assert model.module.x.grad.item() == pytest.approx(-2 / (1 + math.exp(2.5**2 / 2)) * 2.5, rel=1e-5)
    assert isinstance(model.module, Wired)
    assert model.module.x.item() == 3.0


@pytest.mark.parametrize("ascent", ["example", "batch"])
def test_without_a_radius_it_is_npo(world, ascent):
    model = world.open()
    batch = world.batch(model)
    for weight in model.module.parameters():
        weight.data += 0.01
    reference = world.open()
    zero = type("Ask", (), {"ask": lambda self, name, examples: getattr(reference, name)(examples).detach()})()
    ours = SamNPO(rho=0, ascent=ascent).loss(batch, model, zero)
    theirs = NPO().loss(batch, model, zero)
    assert {k: t.sum.item() for k, t in ours.items()} == pytest.approx({k: t.sum.item() for k, t in theirs.items()})


def test_the_reference_is_the_model_without_its_lora(world):
    model = world.open()
    parameters.attach(model, ParametersConfig(rank=4), seed=0)
    examples = model.collate(world.splits.forget).padded()
    # A fresh LoRA changes nothing: with a tiny radius the margin is 0 and the loss (2 / beta) log 2 an answer.
    term = SamNPO(rho=1e-6, beta=0.5).loss(Batch(forget=examples), model, AdapterOff(model))["forget"]
    assert term.sum.item() == pytest.approx(2 * 4 * math.log(2), rel=1e-4)


def test_several_processes_are_refused(world, monkeypatch):
    model = world.open()
    batch = world.batch(model, SamNPO().prepare(world.splits, 0))
    monkeypatch.setattr(nn.parallel, "DistributedDataParallel", type(model.module))
    with pytest.raises(NeedNotMet, match="method 'sam_npo' takes gradients within a step: run it in one process"):
        SamNPO().loss(batch, model, model)


# ---- hidden states --------------------------------------------------------------------------------------------


@pytest.fixture
def attacked(world):
    """A model that has begun to forget, its forget batch with refusals, and the attacked layer."""
    model = world.open()
    splits = LAT().prepare(world.splits, 0)
    with torch.no_grad():
        for weight in model.module.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    return model, model.collate(splits.forget).padded(), model.decoder_layers()[0]


def test_the_attack_stays_within_its_bound_and_makes_the_truth_likelier(attacked):
    model, examples, layer = attacked
    losses = []
    for epsilon in (0.0, 0.1, 0.5):
        method = LAT(layer=0, epsilon=epsilon, attack_steps=8)
        addend = method.attack(examples, model, layer)
        columns = prompt_columns(examples["labels"], examples["attention_mask"])
        with recording(layer) as seen:
            model.logits(examples)
        lengths = seen[0][1].gather(1, columns.clamp_min(0)[..., None].expand_as(addend)).norm(dim=-1)
        assert (addend.norm(dim=-1) <= epsilon * lengths + 1e-5).all()
        with torch.no_grad(), adjusted(layer, lambda states, a=addend, c=columns: add_at(states, a, c)):
            losses.append(model.sequence_nll(examples).sum().item())
    assert losses[0] > losses[1] > losses[2]


def test_without_an_attack_it_is_refusal_training_with_an_away_term(attacked):
    model, examples, _ = attacked
    term = LAT(epsilon=0).loss(Batch(forget=examples), model, None)["forget"]
    refusal, truth = model.token_logprobs(examples, "alternative_"), model.token_logprobs(examples)
    lengths = [(examples[name] != -100).sum(-1) for name in ("alternative_labels", "labels")]
    expected = -refusal.sum(-1) / lengths[0]
    counted = model.output_labels(examples) != -100
    away = torch.where(counted, -(1 - truth.exp()).clamp_min(1e-6).log(), 0.0).sum(-1) / lengths[1]
    assert term.sum.item() == pytest.approx((expected + away).sum().item(), rel=1e-4)


def test_the_attack_reaches_the_same_tokens_before_a_refusal(attacked):
    # Prompts are the same, refusals longer than the answer: the loss differs from the unattacked one.
    model, examples, _ = attacked
    plain, hard = (LAT(layer=0, epsilon=e).forget_values(examples, model, None) for e in (0.0, 0.5))
    assert (hard > plain).all()


def test_words_before_the_truth_are_attacked_where_they_are_said(world):
    # The refusal's prompt lacks them: what lies before them is moved there as it is before the truth.
    model, (item, *_) = world.open(), LAT().prepare(world.splits, 0).forget
    plain, opened = (model.collate([replace(item, opening=text)]).padded() for text in ("", "It was "))
    asked, refused = _columns(opened), _refusal_columns(opened)
    length = int(plain["attention_mask"].sum() - (plain["labels"] != -100).sum())
    assert asked.shape[1] > length
    assert (refused[0, length:] == -1).all()
    before_the_truth = opened["input_ids"][0, asked[0, :length]]
    assert torch.equal(before_the_truth, opened["alternative_input_ids"][0, refused[0, :length]])
