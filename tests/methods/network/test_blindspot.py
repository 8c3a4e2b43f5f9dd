"""Blindspot unlearning: its loss by hand, its second network, and the diabetes lab."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from genunlearn.contracts import Batch, Splits
from genunlearn.data.extras import with_extras
from genunlearn.data.network.items import as_items
from genunlearn.domains.network.classifier import Regressor
from genunlearn.lab.network.regression import STUDIES
from genunlearn.lab.network.study import Lab
from genunlearn.methods.network.blindspot import ANSWER, MAP, Blindspot, BlindspotLoss
from tests.small_networks import unlearn, values


def chain() -> Regressor:
    """x -> (x, 2 x) -> their sum: the hidden layer's map is (1, 4) / sqrt 17 wherever x is not 0."""
    module = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Linear(2, 1, bias=False))
    module[0].weight.data = torch.tensor([[1.0], [2.0]])
    module[1].weight.data = torch.ones(1, 2)
    return Regressor(module)


def test_loss_by_hand() -> None:
    model = chain()
    forget = as_items((torch.tensor([[1.0]]), torch.tensor([0.0])))
    taught = with_extras(forget, **{ANSWER: torch.tensor([[5.0]]), f"{MAP}0": torch.tensor([[0.0, 1.0]])})
    retain = as_items((torch.tensor([[2.0]]), torch.tensor([5.0])))
    batch = Batch(model.collate(taught), model.collate(retain))
    terms = values(BlindspotLoss(beta=50, share=0.25).loss(batch, model, None))
    # Outputs 3 and 6. Map (1, 4) / sqrt 17 against (0, 1): mean of 1/17 and (4 / sqrt 17 - 1)^2.
    apart = (1 / 17 + (4 / 17**0.5 - 1) ** 2) / 2
    assert terms == pytest.approx({"forget": 0.25 * 4, "attention": 0.25 * 50 * apart, "retain": 0.75 * 1}, rel=1e-5)


def test_the_second_network_sees_the_retain_set_alone() -> None:
    calls = []

    def train(objective: BlindspotLoss, splits: Splits) -> None:
        calls.append((objective, splits))

    model = chain()
    before = [weight.clone() for weight in model.module.parameters()]
    x = torch.linspace(-1, 1, 40)[:, None]
    items = as_items((x, torch.where(x[:, 0] > 0.5, 100.0, 2 * x[:, 0])))
    forget, retain = items[30:], items[:30]
    method = Blindspot(blindspot_epochs=100, blindspot_rate=0.05, blindspot_batch=10)
    method.run(train, model, Splits(forget=forget, retain=retain), None)
    ((objective, splits),) = calls
    assert (objective.beta, objective.share) == (50, 0.25)
    answers = torch.stack([item.extras[ANSWER] for item in splits.forget])
    torch.testing.assert_close(answers, 2 * x[30:], atol=0.1, rtol=0)
    assert splits.forget[0].extras[f"{MAP}0"].shape == (2,)
    assert all(torch.equal(a, b) for a, b in zip(before, model.module.parameters(), strict=True))
    assert splits.retain == retain


def test_the_range_is_forgotten_about_as_far_as_by_an_oracle(open_study: Callable[..., Lab]) -> None:
    lab = open_study(STUDIES["diabetes"], "range:..75")
    model = lab.original

    def loss(items: list) -> float:
        return float(model.loss_of(model.predict(items), torch.stack([item.target for item in items])).mean())

    before = loss(lab.splits.forget), loss(lab.splits.retain)
    unlearn(model, Blindspot(), lab.splits, rate=1e-3, steps=60)
    assert loss(lab.splits.forget) > 1.5 * before[0]
    assert loss(lab.splits.retain) < 1.1 * before[1]
