"""DELETE: the original without the true class, of a picture or of every token of an answer."""

import math

import pytest
import torch

from genunlearn.contracts import Batch
from genunlearn.engine.reference import FrozenCopy, make_reference
from genunlearn.errors import NeedNotMet
from genunlearn.methods.general.delete import Delete
from genunlearn.ops.divergences import kl_divergence
from genunlearn.registry import DOMAINS
from tests.small_networks import tabled, unit_items, values


def test_delete_takes_the_true_class_out_of_the_original() -> None:
    # The original gives (1/2, 1/8, 3/8); without class 0 that is (0, 1/4, 3/4). The student is uniform:
    # KL = 1/4 log(3/4) + 3/4 log(9/4).
    items = unit_items([0], 1)
    original, student = tabled([[0.5, 0.125, 0.375]]), tabled([[1 / 3, 1 / 3, 1 / 3]])
    terms = Delete().loss(Batch(student.collate(items), student.collate(items)), student, FrozenCopy(original))
    assert values(terms) == pytest.approx({"forget": 0.25 * math.log(3 / 4) + 0.75 * math.log(9 / 4)}, rel=1e-5)


def test_delete_needs_no_retain_data_but_the_original() -> None:
    Delete().check(DOMAINS.get("classifier"), retain=False)
    assert Delete().needs.reference
    with pytest.raises(NeedNotMet, match="does not fit domain 'regression'"):
        Delete().check(DOMAINS.get("regression"))


def test_on_a_language_model_every_token_of_an_answer_is_an_example(world) -> None:
    model = world.open()
    items = sorted(world.splits.retain, key=lambda item: item.answer)[:2]
    with torch.no_grad():
        together = values(Delete().loss(Batch(model.collate(items)), model, FrozenCopy(model)))
        # By hand, answer for answer: no padding, every position is a token.
        alone = []
        for item in items:
            examples = model.collate([item])
            logits, labels = model.output_logits(examples), model.output_labels(examples)
            assert labels[0].tolist() == model.encode(item.question, item.answer)[1]
            target = logits.clone()
            target[0, torch.arange(labels.shape[1]), labels[0]] = -1e10
            alone.append(kl_divergence(target, logits).item())
    assert together == pytest.approx({"forget": sum(alone)}, rel=1e-5)


def test_logits_over_a_vocabulary_are_not_kept(world) -> None:
    model = world.open()
    reference = make_reference(model, "full")
    reference.fill(Delete(), world.splits, model, batch_size=4)
    assert reference._scores == {}
