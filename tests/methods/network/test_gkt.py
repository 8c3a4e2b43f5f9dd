"""Gated knowledge transfer: gate, hidden class and leak by hand; a short run on the digits."""

import math
from collections.abc import Callable

import pytest
import torch

from genunlearn.contracts import Splits
from genunlearn.data.network.items import Item
from genunlearn.domains.network.classifier import Classifier
from genunlearn.engine.journal import FileJournal
from genunlearn.errors import MismatchError
from genunlearn.lab.network import digits
from genunlearn.lab.network.study import Lab
from genunlearn.methods.network.gkt import GKT, Generator, Transfer
from tests.small_networks import kept_and_forgotten, unit_items

SHAPE = torch.Size([1, 8, 8])
PICTURE = Item(id="a", inputs={"x": torch.zeros(SHAPE)}, target=torch.tensor(3))


def transfer(**settings: object) -> Transfer:
    model = Classifier(digits.build_resnet(4, width=4))
    model.reinitialise(0)
    model.module.eval()
    return Transfer(GKT(batch_size=8, latent=4, **settings), model, [0], "x", SHAPE)


def test_the_gate_counts_all_forgotten_classes() -> None:
    # Probabilities of class 0: 1/4 and 1/100, against epsilon 0.02.
    logits = torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.01, 0.33, 0.33, 0.33]]).log()
    assert transfer(gate=0.02)._passes(logits).tolist() == [False, True]
    assert transfer(gate=0.3)._passes(logits).tolist() == [True, True]


def test_the_hidden_class_has_no_share_in_the_target() -> None:
    logits = torch.tensor([[0.01, 0.33, 0.33, 0.33]]).log()
    hidden = transfer()._target(logits).softmax(-1)
    assert hidden[0].tolist() == pytest.approx([0.0, 1 / 3, 1 / 3, 1 / 3])
    assert torch.equal(transfer(guard="authors")._target(logits), logits)


def test_a_divergence_that_the_authors_average_over_classes() -> None:
    target, answer = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log()
    kl = 0.5 * math.log(4 / 3)
    assert transfer()._apart(target, answer).item() == pytest.approx(kl)
    assert transfer(reduction="mean")._apart(target, answer).item() == pytest.approx(kl / 2)


def test_the_leak_is_a_running_mean_over_rejected_pictures() -> None:
    game = transfer()
    with torch.no_grad():
        game.student.network[-1].weight.zero_()
        game.student.network[-1].bias.copy_(torch.tensor([0.4, 0.2, 0.2, 0.2]).log())
    game._watch(torch.zeros(3, *SHAPE))
    assert game.leak == pytest.approx(0.1 * 0.4)
    game._watch(torch.zeros(3, *SHAPE))
    assert game.leak == pytest.approx(0.9 * 0.04 + 0.1 * 0.4)
    game._watch(torch.zeros(0, *SHAPE))
    assert game.leak == pytest.approx(0.076)


def test_generator_and_student_learn_and_the_teacher_stays() -> None:
    game = transfer(gate=1.0, student_steps=2)
    teacher = [weight.clone() for weight in game.teacher.network.state_dict().values()]
    student = game.student.network[0].weight.clone()
    generator = game._generator.dense.weight.clone()
    with game.teacher.inference():
        game.step()
    assert not torch.equal(student, game.student.network[0].weight)
    assert not torch.equal(generator, game._generator.dense.weight)
    assert all(torch.equal(a, b) for a, b in zip(teacher, game.teacher.network.state_dict().values(), strict=True))
    game.restore()
    assert torch.equal(student, game.student.network[0].weight)


@pytest.mark.parametrize("statistics", ["batch", "initial"])
def test_batchnorm_learns_its_statistics_unless_they_are_left_as_they_begin(statistics: str) -> None:
    game = transfer(gate=1.0, student_steps=2, statistics=statistics)
    norm = game.student.network[1]
    with game.teacher.inference():
        game.step()
    is_initial = torch.equal(norm.running_mean, torch.zeros(4)) and torch.equal(norm.running_var, torch.ones(4))
    assert is_initial is (statistics == "initial")


def test_pictures_have_the_shape_asked_for() -> None:
    for shape in ((1, 8, 8), (3, 30, 21), (1, 28, 28)):
        assert Generator(4, torch.Size(shape))(torch.randn(2, 4)).shape == (2, *shape)


def test_what_is_no_picture_is_refused() -> None:
    model = digits.build_resnet(4)
    with pytest.raises(MismatchError, match=r"inputs of shape \(3,\): gated knowledge transfer invents pictures"):
        GKT().run(None, Classifier(model), Splits(forget=unit_items([0], 3)), FileJournal(None))


@pytest.mark.parametrize(("leak_after", "status"), [(2, "stopped_by_guard"), (4, "trained")])
def test_the_guard_goes_back_to_the_last_weights_below_the_limit(leak_after: int, status: str) -> None:
    model = Classifier(digits.build_resnet(4, width=4))
    model.reinitialise(0)
    model.module.eval()
    limits = {"leak_limit": 1e-6, "leak_after": leak_after, "gate": 1e-6}
    method = GKT(batch_size=8, latent=4, pseudo_batches=4, check_every=1, student_steps=1, **limits)
    outcome = method.run(None, model, Splits(forget=[PICTURE]), FileJournal(None))
    assert outcome.status == status
    is_stopped = status == "stopped_by_guard"
    assert outcome.reason.startswith("3 pseudo-batches" if is_stopped else "4 pseudo-batches")
    assert ("back to the last weights below the limit" in outcome.reason) is is_stopped


@pytest.mark.slow
def test_a_digit_is_not_learnt_from_what_passes_the_gate(open_study: Callable[..., Lab]) -> None:
    lab = open_study()
    method = GKT(pseudo_batches=40, batch_size=128)
    splits = Splits(forget=lab.splits.forget[:1])
    outcome = method.run(None, lab.original, splits, FileJournal(None))
    retain, forget = kept_and_forgotten(lab)
    assert forget == 0.0 and retain > 0.8
    assert outcome.status == "trained"
