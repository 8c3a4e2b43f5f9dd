"""Relearning: the loop against a plain one, the curve, and that nobody's network changes."""

import math

import pytest
import torch
from torch import nn

from genunlearn.attacks.network.relearning import Course, RelearningCurve, Yardstick, relearn
from genunlearn.contracts import Splits
from genunlearn.data.network.items import Item, as_items
from genunlearn.domains.network.classifier import Classifier, Regressor


def points(count: int = 1) -> list[Item]:
    return as_items((torch.ones(count, 1), torch.full((count,), 2.0)))


def line(weight: float = 0.0) -> Regressor:
    """``y = w x``."""
    linear = nn.Linear(1, 1, bias=False)
    linear.weight.data.fill_(weight)
    return Regressor(linear)


def course(items: list[Item], **changes) -> Course:
    settings = {"steps": 2, "batch_size": 4, "learning_rate": 0.5, "learns_statistics": False, "seed": 0}
    return Course(items=items, **(settings | changes))


def test_losses_along_the_way_by_hand() -> None:
    # Adam's first step is the learning rate itself: w = 0.5 and the loss (2 - 0.5)^2. Second step, gradients -4 and
    # -3: m = 0.1 (0.9 * -4 - 3) / 0.19 = -3.473684, v = 0.001 (0.999 * 16 + 9) / 0.001999 = 12.498249.
    # It moves w by 0.5 m / sqrt(v).
    model = line()
    seen = relearn(model, course(points()), Yardstick(model, points()), marks=(0, 1, 2))
    second = 0.5 + 0.5 * 3.473684 / math.sqrt(12.498249)
    assert {step: float(values.mean()) for step, values in seen.items()} == {
        0: 4.0, 1: pytest.approx(1.5**2, rel=1e-6), 2: pytest.approx((2 - second) ** 2, rel=1e-5),
    }  # fmt: skip


def test_enough_is_enough() -> None:
    model = line()
    seen = relearn(model, course(points(), steps=50), Yardstick(model, points()), range(51), lambda v: float(v) < 3)
    assert list(seen) == [0, 1]


@pytest.mark.parametrize(("items", "batch_size", "epoch"), [(10, 4, 3), (9, 4, 2), (8, 4, 2), (1, 4, 1), (3, 1, 3)])
def test_a_last_batch_of_one_is_left_out(items: int, batch_size: int, epoch: int) -> None:
    plan = course(points(items), batch_size=batch_size)
    batches = plan.batches()
    sizes = [len(next(batches)) for _ in range(epoch)]
    assert plan.epoch == epoch
    assert sum(sizes) == (8 if (items, batch_size) == (9, 4) else items)


def test_every_pass_shows_every_item_once() -> None:
    items = as_items((torch.arange(8.0)[:, None], torch.zeros(8)))
    batches = course(items).batches()
    for _ in range(3):
        assert sorted(item.id for item in [*next(batches), *next(batches)]) == sorted(item.id for item in items)


def test_neither_network_nor_random_state_changes(clouds) -> None:
    model = clouds.original
    before = {name: weight.clone() for name, weight in model.module.state_dict().items()}
    model.module[0].weight.requires_grad_(False)
    state = torch.random.get_rng_state()
    try:
        RelearningCurve(steps=3, learning_rate=0.1).run(model, clouds.splits, "x")
        assert not model.module[0].weight.requires_grad and not model.module.training
    finally:
        model.module[0].weight.requires_grad_(True)
    assert all(torch.equal(weight, before[name]) for name, weight in model.module.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_copy_learns_frozen_weights_too() -> None:
    # A network that comes back from training with LoRA or a mask is relearnt with all of its weights.
    model = line()
    model.module.requires_grad_(False)
    assert float(relearn(model, course(points()), Yardstick(model, points()), (2,))[2]) < 4


def test_batchnorm_learns_from_the_full_data_and_not_from_one_class() -> None:
    class Watched(nn.BatchNorm1d):
        trained: tuple[bool, ...] = ()

        def forward(self, x):
            if torch.is_grad_enabled():
                Watched.trained += (self.training,)
            return super().forward(x)

    items = as_items((torch.randn(6, 2, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 2))
    splits = Splits(forget=items[:3], retain=items[3:], holdout=items)
    for data, expected in (("train", (True,)), ("forget", (False,))):
        Watched.trained = ()
        model = Classifier(nn.Sequential(Watched(2), nn.Linear(2, 2)))
        RelearningCurve(data=data, steps=1).run(model, splits, "x")
        assert Watched.trained == expected


def test_the_curve_starts_from_the_network_as_it_is_and_rises(clouds) -> None:
    attack = RelearningCurve(steps=60, learning_rate=0.02)
    results = attack.run(clouds.oracles[0], clouds.splits, "oracle")
    assert [result.group for result in results] == [f"step {step}" for step in (0, 1, 2, 5, 10, 20, 50, 60)]
    assert {result.name for result in results} == {"relearning_accuracy"}
    assert results[0].value == 0.0 and results[-1].value > 0.9
    assert all(result.n == len(clouds.splits.holdout) for result in results)
    assert "all forget items; 60 updates of Adam 0.02" in attack.budget


def test_the_curve_of_a_network_stands_beside_its_control(clouds) -> None:
    attack, splits, beside = RelearningCurve(steps=5), clouds.splits, clouds.beside()
    results = [*attack.run(clouds.original, splits, "original", beside), *attack.control(splits, beside)]
    assert [result.target for result in results] == ["original"] * 4 + ["oracle"] * 4
    assert results[0].value == 1.0 and results[4].value == 0.0


def test_an_attacker_with_few_examples_sees_no_more(clouds) -> None:
    splits = Splits(forget=clouds.splits.forget, holdout=clouds.splits.holdout)
    attack = RelearningCurve(steps=1, examples=1, batch_size=8)
    collated: list[int] = []

    class Counting(Classifier):
        def collate(self, items):
            collated.append(len(items))
            return super().collate(items)

    attack.run(Counting(clouds.oracles[0].module), splits, "x")
    assert collated == [len(splits.holdout), 1]


def test_a_regressor_is_measured_by_its_loss() -> None:
    splits = Splits(forget=points(3), holdout=points(2))
    results = RelearningCurve(steps=1, learning_rate=0.5).run(line(), splits, "x")
    assert [(result.name, result.value) for result in results] == [
        ("relearning_loss", 4.0), ("relearning_loss", pytest.approx(2.25)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("attack", "splits", "reason"),
    [
        (RelearningCurve(), Splits(forget=points()), "needs holdout items"),
        (RelearningCurve(data="train"), Splits(forget=points(), holdout=points()), "needs retain items"),
    ],
)
def test_what_is_missing_is_said(attack: RelearningCurve, splits: Splits, reason: str) -> None:
    (result,) = attack.run(line(), splits, "x")
    assert result.value is None and reason in result.skipped
