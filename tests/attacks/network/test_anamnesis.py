"""The Anamnesis Index: its arithmetic, its count, its cap, and the published loop written out."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from genunlearn.attacks.network.anamnesis import AnamnesisIndex, anamnesis_index
from genunlearn.attacks.network.relearning import Course
from genunlearn.contracts import Beside, Splits
from genunlearn.data.network.items import Item, as_items
from genunlearn.domains.network.classifier import Classifier, Regressor
from genunlearn.records import Result


def test_the_index_is_the_mean_ratio_over_oracles() -> None:
    # 6/4 and 6/12: mean 1, deviation 0.7071, t(0.975, 1) = 12.7062, half width 12.7062 * 0.5 = 6.3531.
    assert anamnesis_index(6, [4, 12], cap=20) == pytest.approx((1.0, 0.0, 7.3531), abs=1e-4)
    assert anamnesis_index(6, [4], cap=20) == (1.5, None, None)


def test_an_offset_as_in_erasure() -> None:
    assert anamnesis_index(2, [0], cap=20, offset=0.01)[0] == pytest.approx(2.01 / 0.01)


@pytest.mark.parametrize(
    ("own", "others", "ends"),
    [(None, [5], (None, 4.0, None)), (5, [None], (None, None, 0.25)), (None, [None], (None, None, None))],
)
def test_what_is_censored_bounds_the_index(own: int | None, others: list, ends: tuple) -> None:
    assert anamnesis_index(own, others, cap=20) == ends


def ray(weight: float) -> Regressor:
    """``y = w x``, taught with a step of 0.5: each of Adam's steps on a constant slope moves w by 0.5 or so."""
    linear = nn.Linear(1, 1, bias=False)
    linear.weight.data.fill_(weight)
    return Regressor(linear, error="l1")


def world(*oracles: float, original: float = 10.0) -> tuple[Splits, Beside]:
    """The forget set says that w is 10; for l1 the gradient is constant until then, so steps have one size."""
    items = as_items((torch.ones(4, 1), torch.full((4,), 10.0)))
    beside = Beside(lambda: ray(original), lambda: [ray(weight) for weight in oracles])
    return Splits(forget=items[:2], retain=items[2:], holdout=items[:1]), beside


def attacked(attack: AnamnesisIndex, model: Regressor, world: tuple[Splits, Beside], target: str) -> list[Result]:
    """Results of a network, and of the oracles."""
    splits, beside = world
    return [*attack.run(model, splits, target, beside), *attack.control(splits, beside)]


def named(results: list[Result]) -> dict[tuple[str, str], Result]:
    return {(result.name, result.target): result for result in results}


ATTACK = AnamnesisIndex(learning_rate=0.5, batch_size=4, max_epochs=30)


def test_regressors_relearn_until_the_loss_is_near_the_originals() -> None:
    # The original errs by 1 (w = 9): the goal is a loss of at most 1.05, w of 8.95. From 5 in halves: 8 steps to 9.
    # The oracle, from 0, takes 18. AIN = 8/18.
    results = named(attacked(ATTACK, ray(5.0), world(0.0, original=9.0), "unlearned"))
    assert results["relearning_time", "unlearned"].value == 8
    assert results["relearning_time", "oracle"].value == 18
    index = results["anamnesis_index", "unlearned"]
    assert index.value == pytest.approx(8 / 18)
    assert index.group == "step/train" and index.n == 1


def test_passes_are_counted_where_they_are_asked_for() -> None:
    # Batches of 2 out of 4: two steps a pass; 8 steps are 4 passes, 18 are 9. The forget set alone is one batch.
    splits = world(0.0, original=9.0)
    epochs = replace(ATTACK, unit="epoch", batch_size=2)
    results = named(attacked(epochs, ray(5.0), splits, "x"))
    assert results["relearning_time", "x"].value == 4 and results["relearning_time", "oracle"].value == 9
    forget = named(attacked(replace(epochs, data="forget"), ray(5.0), splits, "x"))
    assert forget["relearning_time", "x"].value == 8
    assert forget["relearning_time", "x"].group == "epoch/forget"


def test_the_cap_censors_and_is_stated() -> None:
    splits, short = world(0.0, original=9.0), replace(ATTACK, max_epochs=10)
    results = named(attacked(short, ray(5.0), splits, "x"))
    time, index = results["relearning_time", "oracle"], results["anamnesis_index", "x"]
    assert (time.value, time.low) == (None, 10) and "1 of 1 oracles not within the cap of 10 steps" in time.skipped
    assert (index.value, index.low, index.high) == (None, None, pytest.approx(0.8))
    assert "an oracle not within the cap of 10 steps" in index.skipped
    assert "at most 10 passes over the full training set" in short.budget and "margin 0.05" in short.budget


def test_the_authors_count_takes_the_cap_for_the_time_and_starts_at_1() -> None:
    authors = replace(ATTACK, max_epochs=10, count="authors")
    results = named(attacked(authors, ray(9.0), world(0.0, original=9.0), "x"))
    assert results["relearning_time", "x"].value == 1  # known already, but they look after an update only
    assert results["anamnesis_index", "x"].value == pytest.approx(1 / 10)


def test_a_network_that_has_kept_everything_has_index_0() -> None:
    results = named(attacked(ATTACK, ray(9.0), world(0.0, original=9.0), "x"))
    assert results["relearning_time", "x"].value == 0 and results["anamnesis_index", "x"].value == 0


def test_no_ratio_where_an_oracle_knows_the_forget_set_anyway() -> None:
    index = named(attacked(ATTACK, ray(5.0), world(9.0, original=9.0), "x"))["anamnesis_index", "x"]
    assert index.value is None and "an oracle knows the forget set without relearning" in index.skipped


def test_an_oracle_is_held_against_the_others() -> None:
    splits, beside = world(0.0, 5.0, original=9.0)
    results = ATTACK.run(beside.oracles[0], splits, "oracle", beside)
    assert [(result.name, result.value) for result in results] == [
        ("relearning_time", 18.0), ("anamnesis_index", pytest.approx(18 / 8)),
    ]  # fmt: skip


def test_oracles_relearn_once_for_all_networks(monkeypatch) -> None:
    (splits, beside), runs = world(0.0, original=9.0), []
    batches = Course.batches
    monkeypatch.setattr(Course, "batches", lambda self: runs.append(1) or batches(self))
    ATTACK.run(ray(5.0), splits, "a", beside)
    ATTACK.run(ray(6.0), splits, "b", beside)
    assert len(runs) == 3  # the oracle and two networks


def test_what_is_missing_is_said() -> None:
    splits, beside = world(0.0)
    (no_original,) = ATTACK.run(ray(0.0), splits, "x")
    assert no_original.value is None and "needs the original" in no_original.skipped
    (no_retain,) = ATTACK.run(ray(0.0), replace(splits, retain=None), "x", beside)
    assert no_retain.value is None and "needs retain items" in no_retain.skipped
    time, index, control = attacked(ATTACK, ray(0.0), world(original=9.0), "x")
    assert time.value == 18 and index.value is None and "needs an oracle" in index.skipped
    assert control.target == "oracle" and control.skipped == "no control: no oracle is given"


RATE = 5e-3


def published_time(module: nn.Module, train: list[Item], valid: list[Item], goal: float) -> int:
    """The authors' loop: an update of Adam, a look, ten passes at most."""
    module = copy.deepcopy(module)
    optimizer = torch.optim.Adam(module.parameters(), lr=RATE)
    held = torch.stack([item.inputs["x"] for item in valid]), torch.stack([item.target for item in valid])
    time, accuracy = 0, 0.0
    torch.manual_seed(0)
    for _ in range(10):
        for rows in torch.randperm(len(train)).split(16):
            module.train()
            inputs = torch.stack([train[row].inputs["x"] for row in rows])
            targets = torch.stack([train[row].target for row in rows])
            F.cross_entropy(module(inputs), targets).backward()
            optimizer.step()
            optimizer.zero_grad()
            module.eval()
            with torch.no_grad():
                accuracy = float((module(held[0]).argmax(1) == held[1]).float().mean()) * 100
            time += 1
            if accuracy >= goal:
                return time
    return time


def test_the_authors_form_takes_the_published_times(clouds) -> None:
    splits = clouds.splits
    train = [*splits.retain, *splits.forget]
    accuracy = float((clouds.original.predict(splits.holdout).argmax(1) == 2).double().mean())
    assert accuracy > 0.9
    noisy = Classifier(copy.deepcopy(clouds.original.module))
    with torch.no_grad():
        noisy.module[2].bias += torch.tensor([0.0, 0.0, -5.0])
    times = [
        published_time(model.module, train, splits.holdout, 0.95 * accuracy * 100) for model in (noisy, *clouds.oracles)
    ]
    assert all(1 < time < 120 for time in times), "the comparison says nothing at either end"
    attack = AnamnesisIndex(count="authors", batch_size=16, learning_rate=RATE)
    results = named(attack.run(noisy, splits, "unlearned", clouds.beside()))
    assert results["relearning_time", "unlearned"].value == times[0]
    expected = (times[0] / times[1] + times[0] / times[2]) / 2
    assert results["anamnesis_index", "unlearned"].value == pytest.approx(expected, abs=1e-6)
