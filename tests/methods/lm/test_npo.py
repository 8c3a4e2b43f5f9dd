"""NPO against numbers worked by hand, and its limit."""

from __future__ import annotations

import math

import pytest
import torch

from genunlearn.contracts import Batch, Examples
from genunlearn.methods.general.grad_ascent import GradAscent
from genunlearn.methods.lm.npo import NPO


def examples(*ids: str) -> Examples:
    return Examples(ids, torch.ones(len(ids)), {})


class Scored:
    """A model, or a reference, whose negative log-likelihoods are given."""

    def __init__(self, nll: list[float], lengths: list[int] | None = None) -> None:
        self.nll = torch.tensor(nll, dtype=torch.float64, requires_grad=True)
        self.lengths = torch.tensor(lengths or [1] * len(nll))

    def sequence_nll(self, batch: Examples) -> torch.Tensor:
        return self.nll

    def example_loss(self, batch: Examples) -> torch.Tensor:
        return self.nll / self.lengths

    def ask(self, name: str, batch: Examples) -> torch.Tensor:
        assert name == "sequence_nll"
        return self.nll.detach()


FORGET = Batch(forget=examples("a", "b"))


def test_the_forget_term_by_hand():
    # beta = 1/2. Margins NLL - NLL_ref: 3 - 1 = 2 and 1 - 1 = 0. Sigma(1/2 * 2) = e / (1 + e), sigma(0) = 1/2.
    # -(2 / beta) log sigma: 4 log(1 + 1/e) and 4 log 2.
    term = NPO(beta=0.5).loss(FORGET, Scored([3.0, 1.0]), Scored([1.0, 1.0]))["forget"]
    assert term.sum.item() == pytest.approx(4 * math.log(1 + 1 / math.e) + 4 * math.log(2))
    assert (term.side, term.coefficient) == ("forget", 1.0)


def test_the_gradient_by_hand():
    # d/dNLL of -(2 / beta) log sigma(beta m) is -2 sigma(-beta m): -1 at the reference (m = 0), -2 / (1 + e) where
    # beta m = 1. It fades as the answer is forgotten; that of gradient ascent stays -1.
    model = Scored([3.0, 1.0])
    NPO(beta=0.5).loss(FORGET, model, Scored([1.0, 1.0]))["forget"].sum.backward()
    assert model.nll.grad.tolist() == pytest.approx([-2 / (1 + math.e), -1.0])


def test_the_retain_term_is_the_mean_over_tokens():
    # 6 nats over 3 tokens and 1 over 2: CE = 2 and 1/2.
    batch = Batch(retain=examples("r", "s"))
    terms = NPO(alpha=0.25).loss(batch, Scored([6.0, 1.0], [3, 2]), Scored([0.0, 0.0]))
    assert list(terms) == ["retain"]
    assert terms["retain"].sum.item() == pytest.approx(2.5)
    assert terms["retain"].coefficient == 0.25


def test_the_retain_term_over_the_tokens_of_all_examples():
    # (6 + 1) nats over 3 + 2 tokens: the loop divides the sum by 5.
    batch = Batch(retain=Examples(("r", "s"), torch.ones(2), {"tokens": torch.tensor([3, 2])}))
    term = NPO(reduction="tokens").loss(batch, Scored([6.0, 1.0], [3, 2]), Scored([0.0, 0.0]))["retain"]
    assert term.sum.item() == pytest.approx(7.0)
    assert batch.retain.weights(term.reduction).sum().item() == 5


@pytest.mark.parametrize("nll", [[3.0, 1.0], [0.5, 20.0]])
def test_as_beta_goes_to_zero_it_is_gradient_ascent(nll):
    # -(2 / beta) log sigma(beta m) = (2 / beta) log 2 - m + O(beta m^2): the gradient goes to that of -NLL.
    gradients = []
    for method in (NPO(beta=1e-6), GradAscent()):
        model = Scored(nll)
        terms = method.loss(FORGET, model, Scored([1.0, 1.0]))
        (terms["forget"].coefficient * terms["forget"].sum).backward()
        gradients.append(model.nll.grad)
    assert torch.allclose(*gradients, atol=1e-4)
    assert gradients[1].tolist() == [-1.0, -1.0]


def test_values_in_the_limit_differ_by_a_constant():
    beta = 1e-6
    reference = Scored([1.0, 1.0])
    first = NPO(beta=beta).loss(FORGET, Scored([3.0, 1.0]), reference)["forget"].sum.item()
    assert first - 2 * (2 / beta) * math.log(2) == pytest.approx(-2.0, abs=1e-4)


def test_weights_of_the_terms(world):
    model = world.open()
    batch = world.batch(model)
    reference = Scored([0.0, 0.0])
    terms = NPO(gamma=0.5, alpha=2.0).loss(batch, model, reference)
    assert {name: term.coefficient for name, term in terms.items()} == {"forget": 0.5, "retain": 2.0}
