"""Forget sets: who is chosen, and what cannot be asked for."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from genunlearn.data.network.hardness import hardness
from genunlearn.data.network.items import Item, as_items
from genunlearn.data.network.subsets import amount_of, choose, divide, masked, matching
from genunlearn.domains.network.classifier import Classifier, Regressor
from genunlearn.errors import DataError, SourceNotFound


@pytest.fixture
def classes() -> list[Item]:
    """Ten items of the classes 0, 1, 2 and the sub-classes 0 to 4."""
    return as_items((torch.arange(10.0)[:, None], torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2, 0]), torch.arange(10) % 5))


@pytest.fixture
def values() -> list[Item]:
    return as_items((torch.zeros(4, 1), torch.tensor([10.0, 20.0, 30.0, 40.0])))


def rows(marked: torch.Tensor) -> list[int]:
    return marked.nonzero()[:, 0].tolist()


def test_classes_and_subclasses(classes: list[Item]) -> None:
    assert rows(choose(classes, "class:1")) == [1, 4, 7]
    assert rows(choose(classes, "class:1,2")) == [1, 2, 4, 5, 7, 8]
    assert rows(choose(classes, "subclass:3")) == [3, 8]


def test_random_is_decided_by_the_seed(classes: list[Item]) -> None:
    first = rows(choose(classes, "random:4", seed=1))
    assert len(first) == 4
    assert rows(choose(classes, "random:0.4", seed=1)) == first
    assert any(rows(choose(classes, "random:4", seed=seed)) != first for seed in range(2, 5))


def test_ranges_are_closed_and_may_be_open_at_one_end(values: list[Item]) -> None:
    assert rows(choose(values, "range:20..30")) == [1, 2]
    assert rows(choose(values, "range:30..")) == [2, 3]
    assert rows(choose(values, "range:..10")) == [0]


@pytest.mark.parametrize("form", ["txt", "json", "npy"])
def test_files_of_rows(classes: list[Item], tmp_path: Path, form: str) -> None:
    path = tmp_path / f"rows.{form}"
    if form == "npy":
        np.save(path, np.array([2, 5]))
    else:
        path.write_text("[2, 5]" if form == "json" else "2\n5\n")
    assert rows(choose(classes, f"index:{path}")) == [2, 5]


def test_masks(values: list[Item], tmp_path: Path) -> None:
    mask = [True, False, False, True]
    np.save(tmp_path / "mask.npy", mask)
    assert rows(masked(values, mask)) == rows(masked(values, torch.tensor(mask))) == [0, 3]
    assert rows(choose(values, f"mask:{tmp_path / 'mask.npy'}")) == [0, 3]


def test_the_hardest_come_first(classes: list[Item]) -> None:
    scores = {"confidence": torch.arange(10.0), "influence": -torch.arange(10.0)}
    assert rows(choose(classes, "confidence:2", scores=scores.get)) == [8, 9]
    assert rows(choose(classes, "influence:0.2", scores=scores.get)) == [0, 1]


def test_divide_keeps_every_item_once(classes: list[Item]) -> None:
    splits = divide(classes, choose(classes, "class:1"), holdout=classes[:1])
    assert [item.id for item in splits.forget] == ["item-1", "item-4", "item-7"]
    assert len(splits.retain) == 7
    assert splits.holdout == classes[:1]


def test_matching_test_items(classes: list[Item], values: list[Item]) -> None:
    assert {item.target.item() for item in matching(classes, "class:1")} == {1}
    assert len(matching(values, "range:30..")) == 2
    assert matching(classes, "random:0.1") == classes


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ("class:9", "class 9 does not occur; there are 0, 1, 2"),
        ("subclass:9", "subclass 9 does not occur"),
        ("class:0,1,2", "marks all 10 items"),
        ("class:one", "'one' is no whole number"),
        ("class:3.5", "'3.5' is no whole number"),
        ("class:inf", "'inf' is no whole number"),
        ("random:0", "amount = 0 of 10"),
        ("random:11", "a number up to 10"),
        ("random:2.5", "amount = 2.5"),
        ("random:1.0", "1.0 is one item or all: write 1 for one, or a share below 1"),
        ("random:0.01", "amount = 0.01"),
        ("range:1..2", "use class:"),
        ("classes:3", "KIND one of random, class"),
        ("class", "KIND:VALUE"),
        ("confidence:3", "needs a trained model"),
    ],
)
def test_requests_that_cannot_be_met(classes: list[Item], request_: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        choose(classes, request_)


def test_ranges_that_cannot_be_met(values: list[Item]) -> None:
    with pytest.raises(DataError, match=r"range 50\.\.60 holds no item: targets lie between 10 and 40"):
        choose(values, "range:50..60")
    with pytest.raises(DataError, match=r"LOW\.\.HIGH"):
        choose(values, "range:50")
    with pytest.raises(DataError, match="use a value range"):
        choose(values, "class:1")
    with pytest.raises(DataError, match="without sub-classes"):
        choose(values, "subclass:1")


def test_files_that_cannot_be_used(classes: list[Item], tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    with pytest.raises(SourceNotFound, match="no file"):
        choose(classes, f"index:{path}")
    path.write_text("3\n10\n")
    with pytest.raises(DataError, match=r"row 10 is outside 0\.\.9"):
        choose(classes, f"index:{path}")
    path.write_text("three")
    with pytest.raises(DataError, match="not a list of rows"):
        choose(classes, f"index:{path}")
    path.write_text("\n")
    with pytest.raises(DataError, match="no rows are listed in it"):
        choose(classes, f"index:{path}")
    with pytest.raises(SourceNotFound, match="it is a folder"):
        choose(classes, f"index:{tmp_path}")
    (tmp_path / "rows.json").write_text("[0.5]")
    with pytest.raises(DataError, match="whole numbers"):
        choose(classes, f"index:{tmp_path / 'rows.json'}")
    with pytest.raises(DataError, match="give 10 booleans"):
        masked(classes, [True, False])
    with pytest.raises(DataError, match="give 10 booleans"):
        masked(classes, [1] * 10)


def test_amounts() -> None:
    assert amount_of(0.25, 8) == 2
    assert amount_of(1, 8) == 1
    assert amount_of(8, 8) == 8


def test_confidence_is_the_log_odds_of_the_label() -> None:
    linear = nn.Linear(1, 2, bias=False)
    linear.weight.data = torch.log(torch.tensor([[3.0], [1.0]]))
    scores = hardness(Classifier(linear), as_items((torch.ones(2, 1), torch.tensor([0, 1]))), "confidence")
    # p = 3/4 and 1/4: log odds log 3 and -log 3.
    assert scores.tolist() == pytest.approx([1.0986123, -1.0986123])


def test_influence_is_the_squared_gradient() -> None:
    linear = nn.Linear(1, 1, bias=False)
    linear.weight.data = torch.tensor([[2.0]])
    items = as_items((torch.tensor([[1.0], [3.0]]), torch.tensor([1.0, 6.0])))
    # d (w x - y)^2 / d w = 2 (w x - y) x: 2 (2 - 1) 1 = 2, and 0 for the second.
    assert hardness(Regressor(linear), items, "influence").tolist() == pytest.approx([4.0, 0.0])
    assert hardness(Regressor(linear), items, "confidence").tolist() == pytest.approx([-1.0, 0.0])
