"""What a process knows of the others before it joins them; shared work stands in `engine/test_two_processes`."""

from __future__ import annotations

import pytest
import torch
from accelerate import PartialState

from genunlearn.errors import NeedNotMet
from genunlearn.processes import in_turns, of_all, summed, this_process


def test_alone_everything_is_done_in_order():
    assert in_turns("abc", lambda place, task: f"{task}{place}") == ["a0", "b1", "c2"]
    assert in_turns([], lambda place, task: task) == []
    assert of_all(3) == [3]
    assert summed({"forwards": 2, "tokens": {"scored": 5}}) == {"forwards": 2, "tokens": {"scored": 5}}


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)
    monkeypatch.setattr(PartialState, "_shared_state", {})
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(NeedNotMet, match=r"2 processes on 1 GPU: start one for each \(--num_processes 1\)"):
        this_process()
