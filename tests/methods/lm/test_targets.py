"""UNDIAL, JensUn, FLAT and the retain terms against numbers worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from genunlearn.contracts import Batch, Splits
from genunlearn.data.lm.refusals import REFUSALS
from genunlearn.errors import MismatchError, NeedNotMet
from genunlearn.methods.general.grad_diff import GradDiff
from genunlearn.methods.lm.flat import FLAT
from genunlearn.methods.lm.jens_un import JensUn
from genunlearn.methods.lm.npo import NPO
from genunlearn.methods.lm.undial import UNDIAL
from genunlearn.ops.logprobs import IGNORE
from tests.methods.lm.fake import Fake, logits_of

LOG2 = math.log(2)


def forget(method, model, reference=None):
    return method.loss(Batch(forget=model.examples()), model, reference)["forget"]


def test_undial_by_hand():
    # The original says (1/2, 1/4, 1/4); with beta = log 2 the true token's odds are halved: (1/3, 1/3, 1/3).
    # The model says (1/2, 1/4, 1/4): CE = (log 2 + 2 log 2 + 2 log 2) / 3 = 5/3 log 2.
    said = logits_of([[0.5, 0.25, 0.25]])
    term = forget(UNDIAL(beta=LOG2), Fake(said, [[0]]), Fake(said, [[0]]))
    assert term.sum.item() == pytest.approx(5 / 3 * LOG2)


def test_undial_counts_the_answers_tokens_alone():
    # A place without a token is predicted with certainty of token 2, far from any target: it must not count, and the
    # logit of no token may be lowered there.
    said = logits_of([[1e-9, 1e-9, 1.0], [0.5, 0.25, 0.25]])
    other = logits_of([[1.0, 1e-9, 1e-9], [0.5, 0.25, 0.25]])
    model = Fake(said, [[IGNORE, 0]])
    term = forget(UNDIAL(beta=LOG2), model, Fake(other, [[IGNORE, 0]]))
    assert term.sum.item() == pytest.approx(5 / 3 * LOG2)
    term.sum.backward()
    assert model.logits.grad[0, 0].abs().max() == 0


def test_undial_without_beta_has_the_original_as_its_fixed_point():
    said = logits_of([[0.5, 0.25, 0.25]])
    model = Fake(said, [[0]])
    forget(UNDIAL(beta=0), model, Fake(said, [[0]])).sum.backward()
    assert model.logits.grad.abs().max() < 1e-7


def refusing(probability: float) -> Fake:
    """A model that gives the refusal's single token with `probability`, and the truth's two with 1/2 and 1."""
    other = (logits_of([[probability, 1 - probability]]), [[0]])
    return Fake(logits_of([[0.5, 0.5], [1.0, 1e-12]]), [[0, 0]], other)


def test_jens_un_by_hand():
    # q = 1/3: m = (2/3, 1/3). KL(onehot || m) = log 3/2. KL(q || m) = 1/3 log 1/2 + 2/3 log 2 = 1/3 log 2.
    term = forget(JensUn(), refusing(1 / 3))
    assert term.sum.item() == pytest.approx((math.log(1.5) + LOG2 / 3) / 2)


@pytest.mark.parametrize(("probability", "expected"), [(1.0, 0.0), (1e-30, LOG2)])
def test_jens_un_is_bounded(probability, expected):
    assert forget(JensUn(), refusing(probability)).sum.item() == pytest.approx(expected, abs=1e-6)


def test_jens_un_holds_the_retain_set_by_the_same_divergence():
    # (1, 0) against (0, 1) has no common token: log 2; the place without a token does not count.
    model = Fake(logits_of([[0.5, 0.5], [1.0, 1e-30]]), [[IGNORE, 0]])
    reference = Fake(logits_of([[0.1, 0.9], [1e-30, 1.0]]), [[IGNORE, 0]])
    term = JensUn(alpha=0.5).loss(Batch(retain=model.examples()), model, reference)["retain"]
    assert term.sum.item() == pytest.approx(LOG2, abs=1e-6)
    assert (term.side, term.coefficient) == ("retain", 0.5)


# P(template) = 1/3 and P(truth) = (1/2 + 1) / 2 = 3/4.
FLAT_VALUES = {
    "kl": math.exp(3 / 4 - 1) - 1 / 3,
    "total_variation": (math.tanh(3 / 4) - math.tanh(1 / 3)) / 2,
    # f*(g*(v)) = -log(2 - 2 / (1 + e^-v)) = log((1 + e^v) / 2)
    "jensen_shannon": math.log((1 + math.exp(3 / 4)) / 2) - math.log(2 / (1 + math.exp(-1 / 3))),
    "pearson": (9 / 16) / 4 + 3 / 4 - 1 / 3,
}


@pytest.mark.parametrize("divergence", FLAT_VALUES)
def test_flat_by_hand(divergence):
    term = forget(FLAT(divergence=divergence), refusing(1 / 3))
    assert term.sum.item() == pytest.approx(FLAT_VALUES[divergence])


@pytest.mark.parametrize("method", [FLAT(), JensUn()])
def test_every_forget_item_gets_a_refusal(method, world):
    prepared = method.prepare(world.splits, seed=0)
    assert all(item.alternative in REFUSALS for item in prepared.forget)


# ---- the retain term ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [NPO(retain_loss="kl", alpha=0.5), GradDiff(retain_loss="kl", alpha=0.5)])
def test_the_divergence_from_the_reference_by_hand(method):
    # KL((1/2, 1/2) || (1/4, 3/4)) = 1/2 log 2 + 1/2 log 2/3 = log 2 - log(3) / 2; one of two places counts.
    model = Fake(logits_of([[0.9, 0.1], [0.25, 0.75]]), [[IGNORE, 0]])
    reference = Fake(logits_of([[0.1, 0.9], [0.5, 0.5]]), [[IGNORE, 0]])
    term = method.loss(Batch(retain=model.examples()), model, reference)["retain"]
    assert term.sum.item() == pytest.approx(LOG2 - math.log(3) / 2)
    assert (term.side, term.coefficient) == ("retain", 0.5)


def test_the_reference_is_needed_where_the_retain_loss_asks_for_it():
    assert not GradDiff().needs.reference
    for kind in ("kl", "js"):
        assert GradDiff(retain_loss=kind).needs.reference
    assert GradDiff(retain_loss="kl").needs.retain
    assert not GradDiff.needs.reference


def test_a_divergence_on_a_model_without_classes_is_refused():
    class Numbers:
        offers = frozenset({"output_labels"})

        def output_labels(self, examples):
            return torch.tensor([0.5])

    examples = Fake(logits_of([[0.5, 0.5]]), [[0]]).examples()
    with pytest.raises(MismatchError, match=r"method.retain_loss = 'js' needs a model that predicts classes or tokens"):
        GradDiff(retain_loss="js").loss(Batch(retain=examples), Numbers(), Numbers())


def test_alpha_without_anything_to_keep_is_refused(world):
    alone = Splits(forget=world.splits.forget)
    assert UNDIAL().prepare(alone, 0) == alone
    with pytest.raises(NeedNotMet, match=r"method.alpha = 0.5 needs retain data, and none is given"):
        UNDIAL(alpha=0.5).prepare(alone, 0)


def test_without_alpha_nothing_is_computed_on_the_retain_set():
    model = Fake(logits_of([[0.5, 0.5]]), [[0]])
    assert UNDIAL().loss(Batch(retain=model.examples()), model, model) == {}
