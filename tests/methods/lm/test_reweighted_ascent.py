"""Weighted gradient ascent, SatImp, SimNPO, CE-U and the inverted hinge against numbers worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from genunlearn.contracts import Batch
from genunlearn.methods.general.grad_ascent import GradAscent
from genunlearn.methods.lm.ceu import CEU
from genunlearn.methods.lm.inverted_hinge import InvertedHinge
from genunlearn.methods.lm.npo import NPO
from genunlearn.methods.lm.sat_imp import SatImp
from genunlearn.methods.lm.sim_npo import SimNPO
from genunlearn.methods.lm.wga import WGA
from genunlearn.ops.logprobs import IGNORE
from tests.methods.lm.fake import Fake, logits_of

LOG2 = math.log(2)


def two_answers() -> Fake:
    """An answer of two tokens, with 1/2 and 1/4 for the true ones, and one of a single token with 1/4."""
    return Fake(
        logits_of([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]], [[0.2, 0.3, 0.5], [0.25, 0.6, 0.15]]),
        [[0, 0], [IGNORE, 0]],
    )


def forget(method, model, reference=None):
    return method.loss(Batch(forget=model.examples()), model, reference)["forget"]


def gradient(method, model, reference=None) -> torch.Tensor:
    term = forget(method, model, reference)
    (term.coefficient * term.sum).backward()
    return model.logits.grad


def test_wga_by_hand():
    # First answer: weights 1/2 and 1/4, logs -log 2 and -2 log 2: mean (-1/2 - 1/2) log 2 / 2 = -log 2 / 2.
    # Second: 1/4 * -2 log 2 = -log 2 / 2. In all -log 2.
    term = forget(WGA(), two_answers())
    assert term.sum.item() == pytest.approx(-LOG2)
    assert (term.side, term.coefficient) == ("forget", 1.0)


def test_the_weight_of_wga_carries_no_gradient():
    # One token with p = 1/4: d(w log p) / dz_y = w (1 - p) = 1/4 * 3/4 with w held fast.
    model = Fake(logits_of([[0.25, 0.75]]), [[0]])
    assert gradient(WGA(), model).flatten().tolist() == pytest.approx([3 / 16, -3 / 16])


@pytest.mark.parametrize("method", [WGA(beta=0), SatImp(beta1=0, beta2=0, gamma=1)])
def test_without_weights_it_is_gradient_ascent(method):
    assert torch.allclose(gradient(method, two_answers()), gradient(GradAscent(), two_answers()))


def test_sat_imp_without_importance_is_wga():
    first, second = SatImp(beta1=1, beta2=0, gamma=1), WGA(beta=1)
    assert torch.allclose(gradient(first, two_answers()), gradient(second, two_answers()))


def test_sat_imp_by_hand():
    # beta1 = 2, beta2 = 1: p^2 (1 - p) is 1/8 at p = 1/2 and 3/64 at p = 1/4.
    # First answer: (1/8 * -log 2 + 3/64 * -2 log 2) / 2 = -7/64 log 2. Second: 3/64 * -2 log 2 = -6/64 log 2.
    term = forget(SatImp(beta1=2), two_answers())
    assert term.sum.item() == pytest.approx(-13 / 64 * LOG2)
    assert term.coefficient == 0.1


def test_sat_imp_leaves_a_certain_token_alone_and_stays_finite():
    model = Fake(torch.tensor([[[60.0, 0.0]]]), [[0]])
    assert gradient(SatImp(), model).abs().max() == 0


def test_sim_npo_by_hand():
    # Losses a token: (log 2 + 2 log 2) / 2 = 1.5 log 2 and 2 log 2. beta = 2 and delta = log 2 give margins of log 2
    # and 2 log 2: sigma = 2/3 and 4/5; -(2 / beta) log sigma = log 1.5 + log 1.25.
    term = forget(SimNPO(beta=2, delta=LOG2), two_answers())
    assert term.sum.item() == pytest.approx(math.log(1.5) + math.log(1.25))
    assert term.coefficient == 0.125


def test_sim_npo_is_npo_without_reference_and_with_length_normalisation():
    class Normalised(Fake):
        def sequence_nll(self, examples):
            return super().sequence_nll(examples) / torch.tensor([2, 1])

    class Nothing:
        def ask(self, name, examples):
            return torch.zeros(2)

    plain = two_answers()
    normalised = Normalised(plain.logits.detach(), plain.labels.tolist())
    ours = gradient(SimNPO(beta=0.7, gamma=1), plain)
    assert torch.allclose(ours, gradient(NPO(beta=0.7), normalised, Nothing()))


def test_as_beta_goes_to_zero_sim_npo_is_gradient_ascent():
    first = gradient(SimNPO(beta=1e-6, gamma=1), two_answers())
    assert torch.allclose(first, gradient(GradAscent(), two_answers()), atol=1e-5)


def test_ceu_by_hand():
    # Without the true token the first prediction is (0, 1/2, 1/2): CE = 2 log 2. The second is (0, 2/3, 1/3):
    # CE = 2/3 log 2 + 1/3 * 2 log 2 = 4/3 log 2. Mean 5/3 log 2.
    # The other answer: (0, 0.8, 0.2): -(0.8 log 0.6 + 0.2 log 0.15).
    term = forget(CEU(), two_answers())
    second = -(0.8 * math.log(0.6) + 0.2 * math.log(0.15))
    assert term.sum.item() == pytest.approx(5 / 3 * LOG2 + second)


def test_ceu_as_published_leaves_out_the_first_token():
    # Of the first answer the second token stays, 4/3 log 2; of the other nothing.
    assert forget(CEU(skip_tokens=1), two_answers()).sum.item() == pytest.approx(4 / 3 * LOG2)


def test_the_target_of_ceu_carries_no_gradient():
    # d CE / dz = p - target: (1/4, 3/4) - (0, 1).
    model = Fake(logits_of([[0.25, 0.75]]), [[0]])
    assert gradient(CEU(), model).flatten().tolist() == pytest.approx([0.25, -0.25])


def test_inverted_hinge_by_hand():
    # First answer: 1 + 1/2 - 1/4 and 1 + 1/4 - 1/2: mean 1. Second: 1 + 1/4 - 6/10 = 0.65.
    assert forget(InvertedHinge(), two_answers()).sum.item() == pytest.approx(1.65)


def test_inverted_hinge_moves_mass_to_the_runner_up_alone():
    # p = (0.5, 0.3, 0.2), y = 0, runner-up 1. dL/dz_i = d(p0 - p1)/dz_i: p0 (1 - p0) + p0 p1 = 0.4 for z0,
    # -p0 p1 - p1 (1 - p1) = -0.36 for z1, -p0 p2 + p1 p2 = -0.04 for z2.
    model = Fake(logits_of([[0.5, 0.3, 0.2]]), [[0]])
    assert gradient(InvertedHinge(), model).flatten().tolist() == pytest.approx([0.4, -0.36, -0.04])
