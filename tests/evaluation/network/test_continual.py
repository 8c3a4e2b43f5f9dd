"""Forgetting and transfer over a stream, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from genunlearn.evaluation.network.continual import START, History

RIGHT = {START: "0010", 0: "1100", 1: "1011", 2: "0010"}
HISTORY = History(
    labels=np.array([0, 0, 1, 1]),
    right={step: np.array([flag == "1" for flag in flags]) for step, flags in RIGHT.items()},
    learnt={0: 0, 1: 1},
)


def measured(number, known):
    return {one.name: one for one in HISTORY.measure(number, known, "unlearned")}


def test_what_was_lost_and_what_was_gained():
    found = measured(2, (0, 1))
    # class 0: best after request 0 (1, 1), now (0, 0); class 1: best after 1 (1, 1), now (1, 0): lost 1, 1, 0, 1
    assert (found["forgetting"].value, found["forgetting"].n) == (0.75, 4)
    assert found["backward_transfer"].value == -0.75  # both were best when they were learnt
    # class 1 before it was learnt (0, 0), untrained (1, 0)
    assert (found["forward_transfer"].value, found["forward_transfer"].n) == (-0.5, 2)
    assert found["forgetting"].low <= 0.75 <= found["forgetting"].high


def test_what_was_forgotten_on_request_is_no_loss():
    found = measured(2, (1,))
    assert (found["forgetting"].value, found["forgetting"].n) == (0.5, 2)


@pytest.mark.parametrize("name", ["forgetting", "backward_transfer", "forward_transfer"])
def test_a_first_task_has_nothing_to_compare_with(name):
    found = measured(0, (0,))[name]
    assert found.value is None and found.skipped
