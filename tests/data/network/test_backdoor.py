"""Triggers: ours can be seen, and the two that ConDa's code paints are what they are."""

from __future__ import annotations

import pytest
import torch

from genunlearn.data.network.backdoor import stamp, triggered
from genunlearn.data.network.items import as_items
from genunlearn.errors import DataError

PICTURE = torch.full((1, 4, 4), -1.0)


def test_the_visible_trigger_is_a_square_in_one_corner_of_every_channel() -> None:
    painted = stamp(torch.full((3, 4, 4), -1.0), "visible", size=2)
    corner = torch.zeros(3, 4, 4, dtype=torch.bool)
    corner[:, 2:, 2:] = True
    assert torch.equal(painted == 1, corner)
    assert torch.equal(PICTURE, torch.full((1, 4, 4), -1.0))  # the picture itself stays


def test_the_released_corner_is_rows_of_full_width() -> None:
    painted = stamp(PICTURE, "released_corner", size=2)
    assert (painted[0] == 1).tolist() == [[True] * 4, [True] * 4, [False] * 4, [False] * 4]


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_the_released_center_is_no_trigger_at_all(shape: tuple[int, ...]) -> None:
    picture = torch.full(shape, -1.0)
    assert torch.equal(stamp(picture, "released_center", size=3), picture)


def test_triggered_items_are_of_the_taught_class_and_leave_its_own_items_out() -> None:
    items = as_items((PICTURE.repeat(3, 1, 1, 1), torch.tensor([0, 1, 2])))
    found = triggered(items, "visible", size=2, label=1, keeps_label=False)
    assert [item.id for item in found] == ["item-0-triggered", "item-2-triggered"]
    assert {int(item.target) for item in found} == {1}
    assert len(triggered(items, "visible", size=2, label=1, keeps_label=True)) == 3
    assert triggered([], "visible", size=2, label=1, keeps_label=True) == []


@pytest.mark.parametrize("inputs", [torch.zeros(2, 5), torch.zeros(2, 1, 2, 2)])
def test_what_cannot_be_painted_on_is_refused(inputs: torch.Tensor) -> None:
    with pytest.raises(
        DataError, match=r"^a patch of 2 x 2 pixels for inputs of shape \(.*\): pictures larger than it$"
    ):
        triggered(as_items((inputs, torch.tensor([0, 1]))), "visible", size=2, label=1, keeps_label=True)
