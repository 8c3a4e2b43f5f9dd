"""Retraining, Amnesiac and Gaussian-amnesiac."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from genunlearn.contracts import Batch, Splits
from genunlearn.data.network.items import as_items
from genunlearn.domains.network.classifier import Regressor
from genunlearn.errors import DataError, NeedNotMet
from genunlearn.lab.network.regression import STUDIES
from genunlearn.lab.network.study import Lab, score
from genunlearn.methods.general.retrain import Retrain
from genunlearn.methods.network.amnesiac import Amnesiac
from genunlearn.methods.network.gaussian_amnesiac import GaussianAmnesiac
from genunlearn.registry import DOMAINS
from tests.small_networks import kept_and_forgotten, tabled, unit_items, unlearn, values


def test_amnesiac_mixes_wrong_labels_into_the_retain_set() -> None:
    items = as_items((torch.zeros(60, 1), torch.arange(60) % 3))
    prepared = Amnesiac().prepare(Splits(forget=items[:30], retain=items[30:]), seed=0)
    assert list(prepared.forget) == [] and len(prepared.retain) == 60
    assert all(new.target != old.target for new, old in zip(prepared.retain[:30], items[:30], strict=True))
    assert prepared.retain[30:] == items[30:]
    with pytest.raises(DataError, match="no wrong one to draw"):
        Amnesiac().prepare(Splits(forget=items[:1], retain=items[3:4]), seed=0)


def test_amnesiac_loss_by_hand() -> None:
    model = tabled([[0.75, 0.25], [0.5, 0.5]])
    batch = Batch(None, model.collate(unit_items([1, 0], 2)))
    assert values(Amnesiac().loss(batch, model, None)) == pytest.approx({"retain": math.log(4) + math.log(2)})


def test_gaussian_targets_have_the_moments_of_the_training_targets() -> None:
    targets = torch.cat([torch.full((2000,), 10.0), torch.full((2000,), 20.0)])
    items = as_items((torch.zeros(4000, 1), targets))
    splits = Splits(forget=items[:2000], retain=items[2000:])
    drawn = torch.stack([item.target for item in GaussianAmnesiac().prepare(splits, 0).retain[:2000]])
    # Mean 15, standard deviation 5.
    assert drawn.mean().item() == pytest.approx(15, abs=0.5)
    assert drawn.std().item() == pytest.approx(5, abs=0.5)
    assert drawn.min() < 5
    clipped = torch.stack([item.target for item in GaussianAmnesiac(clip=True).prepare(splits, 0).retain[:2000]])
    assert (clipped.min(), clipped.max()) == (10, 20)


def test_gaussian_amnesiac_loss_by_hand() -> None:
    model = Regressor(nn.Linear(1, 1, bias=False))
    model.module.weight.data.fill_(1.0)
    batch = Batch(None, model.collate(as_items((torch.tensor([[1.0], [2.0]]), torch.tensor([3.0, 2.0])))))
    # Errors (1 - 3)^2 and (2 - 2)^2.
    assert values(GaussianAmnesiac().loss(batch, model, None)) == {"retain": 4.0}


def test_families() -> None:
    with pytest.raises(NeedNotMet, match="does not fit domain 'classifier': it fits regression"):
        GaussianAmnesiac().check(DOMAINS.get("classifier"))
    with pytest.raises(NeedNotMet, match="does not fit domain 'regression': it fits classifier"):
        Amnesiac().check(DOMAINS.get("regression"))


def test_retraining_starts_from_fresh_weights_and_never_sees_the_forget_set() -> None:
    seen = []

    def train(objective: object, splits: Splits) -> None:
        seen.append((objective.name, list(splits.forget), splits.retain))

    model = tabled([[0.75, 0.25], [0.5, 0.5]])
    expected = model.fresh(4).module.weight.clone()
    forget, retain = unit_items([1], 2), unit_items([0], 2, start=1)
    Retrain(init_seed=4).run(train, model, Splits(forget=forget, retain=retain), None)
    assert seen == [("supervised", [], retain)]
    assert torch.equal(model.module.weight, expected)


@pytest.mark.slow
def test_amnesiac_forgets_a_digit(open_study: Callable[..., Lab]) -> None:
    lab = open_study()
    unlearn(lab.original, Amnesiac(), lab.splits, rate=1e-3, steps=70)
    retain, forget = kept_and_forgotten(lab)
    assert forget < 0.1 and retain > 0.95


@pytest.mark.slow
def test_the_retrained_network_does_not_know_the_digit(open_study: Callable[..., Lab]) -> None:
    lab = open_study()
    unlearn(lab.original, Retrain(), lab.splits, rate=1e-2, steps=220)
    retain, forget = kept_and_forgotten(lab)
    assert forget == 0.0 and retain > 0.95


def test_gaussian_amnesiac_spoils_a_range(open_study: Callable[..., Lab]) -> None:
    lab = open_study(STUDIES["tumours"], "range:22..")
    before, kept = score(lab.original, lab.splits.forget), score(lab.original, lab.splits.retain)
    unlearn(lab.original, GaussianAmnesiac(), lab.splits, rate=3e-3, steps=60)
    assert score(lab.original, lab.splits.forget) < before - 1
    assert score(lab.original, lab.splits.retain) > kept - 0.1
