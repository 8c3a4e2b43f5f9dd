"""Preference for refusals against numbers worked by hand, and the refusals it hands out."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from genunlearn.contracts import Batch, Examples
from genunlearn.data.lm.refusals import REFUSALS
from genunlearn.methods.lm.idk_dpo import IdkDPO

FORGET = Batch(forget=Examples(("a", "b"), torch.ones(2), {}))


class Scored:
    """A model, or a reference, with given log-likelihoods of the truth and of the refusal."""

    def __init__(self, truth: list[float], refusal: list[float]) -> None:
        self.truth = torch.tensor(truth, dtype=torch.float64, requires_grad=True)
        self.refusal = torch.tensor(refusal, dtype=torch.float64, requires_grad=True)

    def sequence_nll(self, batch: Examples) -> torch.Tensor:
        return -self.truth

    def alternative_nll(self, batch: Examples) -> torch.Tensor:
        return -self.refusal

    def ask(self, name: str, batch: Examples) -> torch.Tensor:
        return getattr(self, name)(batch).detach()


def test_the_forget_term_by_hand():
    # First: the refusal has gained 3 nats over the reference and the truth lost 1: sigma(beta (3 - (-1))) is sigma(1)
    # with beta = 1/4. Second: both as the reference: sigma(0). -(2 / beta) log sigma: 8 log(1 + 1/e) and 8 log 2.
    model, reference = Scored([-2.0, -5.0], [-4.0, -6.0]), Scored([-1.0, -5.0], [-7.0, -6.0])
    term = IdkDPO(beta=0.25).loss(FORGET, model, reference)["forget"]
    assert term.sum.item() == pytest.approx(8 * math.log(1 + 1 / math.e) + 8 * math.log(2))
    assert (term.side, term.coefficient) == ("forget", 1.0)


def test_the_gradient_pushes_the_refusal_up_and_the_truth_down():
    # d/d logp(refusal) = -2 sigma(-beta margin) = -1 at the reference, and +1 for the truth.
    model = Scored([-2.0, -5.0], [-4.0, -6.0])
    IdkDPO(beta=0.25).loss(FORGET, model, Scored([-2.0, -5.0], [-4.0, -6.0]))["forget"].sum.backward()
    assert model.refusal.grad.tolist() == pytest.approx([-1.0, -1.0])
    assert model.truth.grad.tolist() == pytest.approx([1.0, 1.0])


def test_every_forget_item_gets_a_refusal_by_the_seed(world):
    method = IdkDPO()
    first = method.prepare(world.splits, seed=0)
    assert all(item.alternative in REFUSALS for item in first.forget)
    assert [replace(item, alternative=None) for item in first.forget] == list(world.splits.forget)
    assert first.retain is world.splits.retain
    assert method.prepare(world.splits, seed=0) == first
    assert len({tuple(i.alternative for i in method.prepare(world.splits, seed).forget) for seed in range(20)}) > 5


def test_a_refusal_that_is_there_already_stays(world):
    own = [replace(item, alternative="Ask someone else.") for item in world.splits.forget]
    prepared = IdkDPO().prepare(replace(world.splits, forget=own), seed=0)
    assert [item.alternative for item in prepared.forget] == ["Ask someone else."] * len(own)


def test_on_a_model_the_two_answers_are_scored_apart(world):
    model = world.open()
    splits = IdkDPO().prepare(world.splits, seed=0)
    batch = world.batch(model, splits)
    # Against a reference that scores everything 0, the margin is logp(refusal) - logp(truth).
    zero = Scored([0.0, 0.0], [0.0, 0.0])
    term = IdkDPO(beta=0.1).loss(batch, model, zero)["forget"]
    margin = model.sequence_nll(batch.forget) - model.alternative_nll(batch.forget)
    expected = [-20 * math.log(1 / (1 + math.exp(-0.1 * value))) for value in margin.tolist()]
    assert term.sum.item() == pytest.approx(sum(expected), rel=1e-5)
