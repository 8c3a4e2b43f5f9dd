"""Losses of learners of tasks, worked by hand on networks whose logits are their inputs."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from genunlearn.contracts import Batch
from genunlearn.data.network.items import as_items
from genunlearn.data.network.memory import Memory
from genunlearn.domains.network.classifier import Classifier
from genunlearn.methods.network.continual.base import Kept
from genunlearn.methods.network.continual.der import DER, LOGITS
from genunlearn.methods.network.continual.er import ER
from genunlearn.methods.network.continual.ewc import ANCHOR, EWC, FISHER
from genunlearn.methods.network.continual.uniclun import FORMS, UniCLUN

EVEN, SURE = [0.0, 0.0], [math.log(3), 0.0]
"""Inputs whose predictions are (1/2, 1/2) and (3/4, 1/4); the loss of class 0 is log 2 and log 4/3."""


def identity(*, hidden: bool = False) -> Classifier:
    layers = [nn.Linear(2, 2, bias=False) for _ in range(1 + hidden)]
    for layer in layers:
        layer.weight.data.copy_(torch.eye(2))
    return Classifier(nn.Sequential(*layers))


def items(rows, labels, prefix="new-"):
    return as_items((torch.tensor(rows), torch.tensor(labels)), prefix=prefix)


def remembering(*rows) -> Kept:
    memory = Memory(5)
    if rows:
        memory.add(items(list(rows), [0] * len(rows), "old-"), 0)
    return Kept(memory)


def values(objective, model, side: str, rows, labels) -> dict[str, float]:
    """What each term adds to the loss of one step."""
    batch = Batch(**{side: model.collate(items(rows, labels))})
    return {
        name: float(term.sum.detach()) * term.coefficient / len(rows)
        for name, term in objective.loss(batch, model, None).items()
    }


def test_er_rehearses_the_memory_beside_the_task():
    model, method = identity(), ER(replay_weight=0.5)
    assert values(method.learning(remembering()), model, "retain", [EVEN], [0]) == pytest.approx({"task": math.log(2)})
    found = values(method.learning(remembering(SURE)), model, "retain", [EVEN, EVEN], [0, 1])
    assert found == pytest.approx({"task": math.log(2), "memory": 0.5 * math.log(4 / 3)})


def test_der_holds_on_to_logits_too():
    model, kept, method = identity(), remembering(SURE), DER(alpha=0.3, beta=0.2)
    method.settle(model, kept, [], has_forgotten=False)
    assert kept.memory.items[0].extras[LOGITS].tolist() == pytest.approx(SURE)
    model.network[0].weight.data.zero_()  # logits are (0, 0) now: off by log 3 in one of two classes
    found = values(method.learning(kept), model, "retain", [EVEN], [0])
    expected = {"task": math.log(2), "logits": 0.3 * math.log(3) ** 2 / 2, "labels": 0.2 * math.log(2)}
    assert found == pytest.approx(expected)
    method.settle(model, kept, [], has_forgotten=False)
    assert kept.memory.items[0].extras[LOGITS].tolist() == pytest.approx(SURE)  # taken once
    method.settle(model, kept, [], has_forgotten=True)
    assert kept.memory.items[0].extras[LOGITS].tolist() == [0.0, 0.0]  # of the network that has forgotten


def test_ewc_holds_what_mattered():
    # Logits (0, 0) for x = (1, 0) of class 0: the gradient of W is (-1/2, 1/2) in the first column, its square 1/4.
    model, kept, method = identity(), remembering(SURE), EWC(penalty=100.0, decay=0.5)
    weight = model.network[0].weight
    weight.data.zero_()
    task = items([[1.0, 0.0]], [0])
    method.settle(model, kept, task, has_forgotten=False)
    assert kept.tensors[FISHER + "0.weight"].tolist() == [[0.25, 0.0], [0.25, 0.0]]
    weight.data[0] = torch.tensor([2.0, 7.0])  # 100 / 2 * (1/4 * 2^2 + 0 * 7^2) = 50
    found = values(method.learning(kept), model, "retain", [[0.0, 0.0]], [0])
    assert found == pytest.approx({"task": math.log(2), "penalty": 50.0})
    weight.data.zero_()
    method.settle(model, kept, task, has_forgotten=False)
    assert float(kept.tensors[FISHER + "0.weight"][0, 0]) == pytest.approx(0.5 * 0.25 + 0.25)
    weight.data.copy_(torch.eye(2))
    method.settle(model, kept, [], has_forgotten=True)  # on the memory: x = (log 3, 0), prediction (3/4, 1/4)
    assert float(kept.tensors[FISHER + "0.weight"][0, 0]) == pytest.approx((0.25 * math.log(3)) ** 2)
    assert kept.tensors[ANCHOR + "0.weight"].tolist() == [[1.0, 0.0], [0.0, 1.0]]


def unified(**options):
    method = UniCLUN(projection=0, contrast_temperature=1.0, probability=0.0, **options)
    return method, method.surround(identity(hidden=True), seed=1)


def test_uniclun_learns_by_labels_and_contrast():
    method, model = unified(supervised_weight=2.0)
    rows = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    found = values(method.learning(remembering()), model, "retain", rows, [0, 0, 1])
    one = math.log(1 + math.exp(-1))  # the loss of each, and the contrast of the first two; the third meets nothing
    assert found == pytest.approx({"labels": one, "supervised": 2.0 * (2 * one) / 3})


def test_uniclun_distils_by_how_sure_the_teacher_is():
    method, model = unified(distil_weight=0.1, supervised_weight=0.0, confidence_temperature=1.0)
    model.network.student[1].weight.data.zero_()  # the teacher still says (log 3, 0), and is sure by 3/4
    found = values(method.learning(remembering(SURE)), model, "retain", [EVEN], [0])
    assert found["distil"] == pytest.approx(0.1 * 0.75 * math.log(3) ** 2)
    assert found["labels"] == pytest.approx(math.log(2))  # one mean over both
    assert found["contrast"] == pytest.approx(0.0, abs=1e-6)  # a single memory meets itself alone


@pytest.mark.parametrize(("form", "stay", "go"), [("paper", 0.25, 0.75), ("code", 1.0, 1.0)])
def test_uniclun_forgets_towards_the_untrained(form, stay, go, monkeypatch):
    # KL( (1/2, 1/2) || (3/4, 1/4) ) = 1/2 log 2/3 + 1/2 log 2 = 1/2 log 4/3
    method, model = unified(form=form, gamma=0.25, replay_weight=1.0, turn_weight=0.0)
    monkeypatch.setattr(model, "untrained_logits", lambda examples: torch.zeros(len(examples), 2))
    found = values(method.forgetting(remembering(SURE)), model, "forget", [SURE, SURE], [0, 0])
    assert found["forget"] == pytest.approx(go * math.log(4 / 3) / 2)
    assert found["memory"] == pytest.approx(stay * math.log(4 / 3))
    assert found["distil"] == pytest.approx(0.0, abs=1e-6) == found["supervised"]


def test_the_codes_constants_are_those_of_the_reference():
    code = UniCLUN(form="code")
    assert [code.constant(name) for name in FORMS["code"]] == [0.1, 0.1, 0.3, 0.3, 0.5, 0.07, 1.0, 0.999, 0.2]
    assert UniCLUN(form="code", momentum=0.5).constant("momentum") == 0.5


def test_the_code_has_one_mean_for_the_task_and_one_for_the_memory():
    method, model = unified(form="code", supervised_weight=0.0, distil_weight=0.0, contrast_weight=0.0, turn_weight=0.0)
    found = values(method.learning(remembering(SURE)), model, "retain", [EVEN], [0])
    assert found == pytest.approx({"labels": math.log(2), "memory": 0.5 * math.log(4 / 3)})


@pytest.mark.parametrize(("after", "is_kept"), [("student", False), ("kept", True)])
def test_after_forgetting_the_teacher_knows_no_more_than_the_student(after, is_kept):
    method, model = unified(teacher_after=after)
    model.network.student[1].weight.data.zero_()
    method.settle(model, remembering(SURE), [], has_forgotten=True)
    assert bool(model.network.teacher[1].weight.any()) is is_kept
