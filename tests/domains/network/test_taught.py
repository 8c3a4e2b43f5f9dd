"""A classifier with an averaged teacher: how the teacher moves, and what it must never do."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from genunlearn.data.network.items import as_items
from genunlearn.domains.network.classifier import Classifier
from genunlearn.domains.network.taught import TaughtClassifier, TaughtNetwork, joined
from genunlearn.errors import MismatchError


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))


def taught(**options) -> TaughtClassifier:
    return TaughtClassifier.around(Classifier(network()), **{"projection": 5, "turns": False, "seed": 1, **options})


def test_the_average_begins_with_a_copy_and_then_moves_by_its_share():
    # k = 0: m = min(1 - 1/1, 0.9) = 0, a copy. k = 1: m = 1/2. k = 20: m = min(1 - 1/21, 0.9) = 0.9.
    made = TaughtNetwork(nn.Linear(1, 1, bias=False), projection=0, turns=False)
    for value, expected in ((4.0, 4.0), (8.0, 6.0)):
        made.student.weight.data.fill_(value)
        made.average(0.9)
        assert made.teacher.weight.item() == pytest.approx(expected)
    made.updates.fill_(20)
    made.average(0.9)
    assert made.teacher.weight.item() == pytest.approx(0.9 * 6 + 0.1 * 8) and int(made.updates) == 21


def test_the_teacher_has_no_gradient_and_learns_no_statistics():
    model = taught()
    batch = model.collate(as_items((torch.randn(6, 2), torch.arange(6) % 3)))
    model.module.train()
    logits, embeddings = model.embed(batch)
    said, shown = model.embed_by_teacher(batch)
    (logits.sum() + embeddings.sum() + (said * shown.sum()).sum()).backward()
    assert all(weight.grad is None for weight in model.network.teacher.parameters())
    assert int(model.network.teacher[1].num_batches_tracked) == 0
    assert int(model.network.student[1].num_batches_tracked) == 1
    assert embeddings.shape == (6, 5) and embeddings.norm(dim=1).tolist() == pytest.approx([1.0] * 6, abs=1e-5)


def test_statistics_stand_still_where_they_are_told_to():
    model = taught()
    model.moves_statistics = False
    model.module.train()
    model.output_logits(model.collate(as_items((torch.randn(4, 2), torch.zeros(4, dtype=torch.long)))))
    assert int(model.network.student[1].num_batches_tracked) == 0


def test_the_student_stays_the_callers_network():
    own = network()
    model = TaughtClassifier.around(Classifier(own), projection=0, turns=False, seed=1)
    model.network.student[0].weight.data.zero_()
    assert model.network.student is own and not own[0].weight.any()
    model.network.copy_student()
    assert not model.network.teacher[0].weight.any()


def test_a_network_without_an_embedding_is_refused():
    with pytest.raises(MismatchError, match="no linear layer"):
        TaughtNetwork(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()), projection=8, turns=False)


def test_only_square_pictures_can_be_turned():
    model = taught(turns=True)
    with pytest.raises(MismatchError, match="square pictures"):
        model.turn_logits(model.collate(as_items((torch.randn(2, 2), torch.tensor([0, 1])))))
    pictures = TaughtClassifier.around(
        Classifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 2))), projection=0, turns=True, seed=1
    )
    logits, turns = pictures.turn_logits(pictures.collate(as_items((torch.randn(9, 1, 2, 2), torch.arange(9) % 2))))
    assert logits.shape == (9, 4) and set(turns.tolist()) <= {0, 1, 2, 3}


def test_joined_batches_keep_what_all_of_them_have():
    model = Classifier(network())
    first, second = (
        model.collate(as_items((torch.full((n, 2), float(n)), torch.zeros(n, dtype=torch.long)))) for n in (1, 2)
    )
    second.tensors["extra"] = torch.ones(2)
    both = joined(first, second)
    assert both["inputs.x"][:, 0].tolist() == [1.0, 2.0, 2.0] and "extra" not in both and len(both) == 3
