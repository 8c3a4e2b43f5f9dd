"""Which items make up which step, on one process and on several."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
import torch

from genunlearn.contracts import Examples, Splits
from genunlearn.engine.batches import PairedBatches, derive_seed


@dataclass(frozen=True)
class Letters:
    """A domain whose items are letters."""

    def collate(self, items):
        return Examples(tuple(items), torch.ones(len(items)), {})


def batches(forget: str, retain: str | None, size: int, accumulation: int = 1, **options) -> PairedBatches:
    splits = Splits(forget=list(forget), retain=list(retain) if retain is not None else None)
    return PairedBatches(splits, size, accumulation, options.pop("seed", 0), **options)


def taken(paired: PairedBatches, steps: range, side: str = "forget") -> list[str]:
    return [item for step in steps for rows in paired.window(step) for item in rows.get(side, ())]


def test_seeds_are_the_same_on_every_machine_and_in_every_version():
    # The first 8 bytes of SHA-256 of "(0, 'forget', 1)", halved: a run interrupted today resumes tomorrow.
    assert derive_seed(0, "forget", 1) == 7038665896526191325
    assert derive_seed(0, "forget", 1) != derive_seed(1, "forget", 1)


def test_a_step_is_a_function_of_seed_and_step():
    first, second = batches("abcdef", "uvwxyz", 2), batches("abcdef", "uvwxyz", 2)
    taken(first, range(7))
    assert first.window(5) == second.window(5)
    assert any(first.window(step) != batches("abcdef", "uvwxyz", 2, seed=1).window(step) for step in range(3))


def test_every_item_comes_once_an_epoch_and_orders_differ():
    # 5 items in steps of 2: epochs end in the middle of a step.
    row = taken(batches("abcde", None, 2), range(10))
    epochs = [row[start : start + 5] for start in range(0, 20, 5)]
    assert all(sorted(epoch) == list("abcde") for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_side_smaller_than_the_window_is_taken_whole_and_once():
    # Forget has 3 items for a window of 4 x 2 = 8, retain has 10: two micro-batches, 3 = 1 + 2 and 8 = 4 + 4.
    window = batches("abc", "qrstuvwxyz", 4, 2).window(0)
    assert [len(rows["forget"]) for rows in window] == [1, 2]
    assert [len(rows["retain"]) for rows in window] == [4, 4]
    assert sorted(item for rows in window for item in rows["forget"]) == ["a", "b", "c"]


def test_micro_batches_without_a_side_leave_it_out_and_the_last_has_all():
    window = batches("a", "qrst", 2, 2).window(0)
    assert [sorted(rows) for rows in window] == [["retain"], ["forget", "retain"]]


def test_accumulation_cuts_the_same_window():
    whole = batches("abcdefgh", "stuvwxyz", 8).window(3)
    cut = batches("abcdefgh", "stuvwxyz", 1, 8).window(3)
    assert len(whole) == 1
    assert len(cut) == 8
    for side in ("forget", "retain"):
        assert [item for rows in cut for item in rows[side]] == list(whole[0][side])


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_a_step_without_overlap(world):
    ranks = [batches("abcde", "vwxyz", 4, 1, rank=rank, world=world) for rank in range(world)]
    (rows,) = ranks[0].window(0)
    shares = [rank.collate(rows, Letters()) for rank in ranks]
    for side in ("forget", "retain"):
        counted = Counter()
        for share in shares:
            examples = getattr(share, side)
            counted.update(
                {item: int(weight) for item, weight in zip(examples.ids, examples.weight.tolist(), strict=True)}
            )
        assert +counted == Counter(rows[side])


def test_a_process_without_a_share_gets_one_item_that_does_not_count():
    share = batches("a", None, 1, rank=1, world=2).collate({"forget": ["a"]}, Letters())
    assert share.forget.ids == ("a",)
    assert share.forget.weight.tolist() == [0.0]
    assert share.retain is None
