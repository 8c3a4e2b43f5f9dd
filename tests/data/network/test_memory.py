"""The memory: uniform whatever comes and goes, deletion by id, class and task, and what cannot be forgotten."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from genunlearn.data.network.items import Item
from genunlearn.data.network.memory import Memory
from genunlearn.errors import DataError


def items(first: int, last: int, label: int = 0) -> list[Item]:
    return [Item(id=str(k), inputs={"x": torch.zeros(1)}, target=torch.tensor(label)) for k in range(first, last)]


def held(memory: Memory) -> tuple[str, ...]:
    return tuple(sorted(item.id for item in memory.items))


def counts(fill, draws: int = 3000) -> Counter:
    found: Counter = Counter()
    for seed in range(draws):
        memory = Memory(2, seed=seed)
        fill(memory)
        found[held(memory)] += 1
    return found


def chi_square(found: Counter, cells: int) -> float:
    expected = sum(found.values()) / cells
    return sum((found[key] - expected) ** 2 / expected for key in found) + expected * (cells - len(found))


def test_every_pair_of_five_is_as_likely():
    # 10 pairs: the 0.999 quantile of chi-square with 9 degrees of freedom is 27.9.
    assert chi_square(counts(lambda memory: memory.add(items(0, 5), 0)), 10) < 27.9


def test_the_sample_stays_uniform_when_what_is_deleted_is_made_up_for():
    # Of 0..4 the items 0 and 1 go, and 5 and 6 come: pairs of 2..6, each as likely, though 5 and 6 come late.
    def fill(memory):
        memory.add(items(0, 5), 0)
        memory.forget(ids=["0", "1"])
        memory.add(items(5, 7), 1)
        assert len(memory) == 2

    found = counts(fill)
    assert set().union(*found) == {"2", "3", "4", "5", "6"} and chi_square(found, 10) < 27.9


def test_a_deletion_leaves_a_gap_until_something_comes():
    memory = Memory(3)
    memory.add(items(0, 3), 0)
    assert memory.forget(ids=["1"]) == ("1",) and held(memory) == ("0", "2")
    memory.add(items(3, 4), 1)  # the only deletion was of a member, so the next item takes its place for certain
    assert held(memory) == ("0", "2", "3")


def test_ids_classes_and_tasks_go_whether_they_are_held_or_not():
    memory = Memory(2)
    memory.add([*items(0, 3, label=4), *items(3, 6, label=5)], 0)
    memory.add(items(6, 9, label=6), 1)
    assert set(memory.forget(classes=[5])) == {"3", "4", "5"}
    assert set(memory.forget(task=0)) == {"0", "1", "2"}
    assert set(memory.known) == {"6", "7", "8"} and all(int(item.target) == 6 for item in memory.items)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"ids": ["9"]}, "item '9' cannot be forgotten: it was never learnt"),
        ({"classes": [1]}, "class 1 cannot be forgotten: .* known: 0"),
        ({"task": 1}, "task 1 cannot be forgotten: .* known: 0"),
    ],
)
def test_what_is_not_known_cannot_be_forgotten(asked, said):
    memory = Memory(2)
    memory.add(items(0, 3), 0)
    with pytest.raises(DataError, match=said):
        memory.forget(**asked)
    assert len(memory.known) == 3


def test_an_item_cannot_be_forgotten_or_learnt_twice():
    memory = Memory(2)
    memory.add(items(0, 3), 0)
    with pytest.raises(DataError, match="'2' was learnt before"):
        memory.add(items(2, 3), 1)
    memory.forget(ids=["2"])
    with pytest.raises(DataError, match="forgotten already"):
        memory.forget(ids=["2"])


def test_a_restored_memory_draws_as_the_one_before():
    first, second, rest = Memory(3, seed=5), Memory(3, seed=5), items(10, 40)
    for memory in (first, second):
        memory.add(items(0, 10), 0)
        memory.forget(ids=["4", "5"])
    third = Memory(3, seed=5)
    third.restore(second.state(), {item.id: item for item in items(0, 10)})
    for memory in (first, third):
        memory.add(rest, 1)
    assert [item.id for item in first.items] == [item.id for item in third.items]
