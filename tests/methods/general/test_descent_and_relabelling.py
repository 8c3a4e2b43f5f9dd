"""Fine-tuning, NegGrad+ and random labels: losses by hand, and what they do to the digits."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from genunlearn.contracts import Batch, Splits
from genunlearn.data.network.items import as_items
from genunlearn.domains.network.classifier import Regressor
from genunlearn.errors import NeedNotMet
from genunlearn.lab.network.study import Lab
from genunlearn.methods.general.fine_tune import FineTune
from genunlearn.methods.general.fine_tune_l2 import AnchoredFineTuning, FineTuneL2
from genunlearn.methods.general.grad_ascent import GradAscent
from genunlearn.methods.general.grad_diff import GradDiff
from genunlearn.methods.general.neg_grad_plus import NegGradPlus
from genunlearn.methods.general.random_labels import RandomLabels
from genunlearn.registry import DOMAINS
from tests.small_networks import kept_and_forgotten, tabled, unit_items, unlearn, values

MODEL = tabled([[0.75, 0.25], [0.5, 0.5]])
FORGET, RETAIN = unit_items([1], 2), unit_items([0], 2, start=1)
BATCH = Batch(MODEL.collate(FORGET), MODEL.collate(RETAIN))
# CE of the forget item is -log 0.25 = log 4, of the retain item log 2.


def test_fine_tuning_looks_at_the_retain_side_alone() -> None:
    assert values(FineTune().loss(BATCH, MODEL, None)) == pytest.approx({"retain": math.log(2)})


def test_neg_grad_plus_by_hand() -> None:
    terms = values(NegGradPlus(beta=0.75).loss(BATCH, MODEL, None))
    assert terms == pytest.approx({"forget": -0.25 * math.log(4), "retain": 0.75 * math.log(2)})
    assert NegGradPlus().beta == 0.95


def test_random_labels_by_hand() -> None:
    terms = values(RandomLabels(gamma=2, alpha=3).loss(BATCH, MODEL, None))
    assert terms == pytest.approx({"forget": 2 * math.log(4), "retain": 3 * math.log(2)})


def test_random_labels_are_drawn_for_the_forget_set_alone() -> None:
    items = as_items((torch.zeros(200, 1), torch.arange(200) % 4))
    prepared = RandomLabels().prepare(Splits(forget=items[:100], retain=items[100:]), seed=0)
    same = sum(int(new.target == old.target) for new, old in zip(prepared.forget, items[:100], strict=True))
    assert 10 < same < 45
    assert prepared.retain == items[100:]
    wrong = RandomLabels(always_wrong=True).prepare(Splits(forget=items[:100], retain=items[100:]), seed=0)
    assert all(new.target != old.target for new, old in zip(wrong.forget, items[:100], strict=True))


def test_the_distance_to_the_original_weights_by_hand() -> None:
    model = Regressor(nn.Linear(1, 1))
    model.module.weight.data.fill_(3.0)
    model.module.bias.data.fill_(1.0)
    anchors = {"weight": torch.tensor([[1.0]]), "bias": torch.tensor([1.5])}
    batch = Batch(None, model.collate(as_items((torch.tensor([[0.0], [0.0]]), torch.tensor([1.0, 3.0])))))
    terms = AnchoredFineTuning(anchors=anchors, l2_to_init=0.1).loss(batch, model, None)
    # Errors 0 and 4; distance 2^2 + 0.5^2 = 4.25 for each of two examples, so that their mean is the distance.
    assert values(terms) == pytest.approx({"retain": 4.0, "distance": 0.1 * 4.25 * 2})


@pytest.mark.parametrize("method", [FineTune(), FineTuneL2(), GradDiff(), NegGradPlus(), RandomLabels()])
def test_retain_data_is_needed(method: object) -> None:
    with pytest.raises(NeedNotMet, match="needs retain"):
        method.check(DOMAINS.get("classifier"), retain=False)
    for domain in ("lm", "classifier", "regression", "diffusion"):
        method.check(DOMAINS.get(domain))


RUNS = [
    (GradAscent(), 3e-4, 15, 0.75),
    (GradDiff(), 1e-4, 40, 0.9),
    (NegGradPlus(), 3e-4, 40, 0.9),
    (FineTune(), 1e-2, 60, 0.9),
    (RandomLabels(), 1e-3, 60, 0.95),
]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "rate", "steps", "kept"), RUNS, ids=[run[0].name for run in RUNS])
def test_a_digit_is_forgotten_and_the_others_stay(
    open_study: Callable[..., Lab], method: object, rate: float, steps: int, kept: float
) -> None:
    lab = open_study()
    unlearn(lab.original, method, lab.splits, rate=rate, steps=steps)
    retain, forget = kept_and_forgotten(lab)
    assert forget < 0.3
    assert retain > kept


@pytest.mark.slow
def test_the_penalty_holds_the_weights(open_study: Callable[..., Lab]) -> None:
    moved = {}
    for method in (FineTune(), FineTuneL2(l2_to_init=0.1)):
        lab = open_study()
        before = {name: weight.detach().clone() for name, weight in lab.original.module.named_parameters()}
        unlearn(lab.original, method, lab.splits, rate=1e-2, steps=30)
        now = dict(lab.original.module.named_parameters())
        moved[method.name] = sum((now[name] - weight).square().sum().item() for name, weight in before.items())
    assert moved["fine_tune_l2"] < 0.5 * moved["fine_tune"]
