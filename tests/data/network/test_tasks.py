"""Streams of requests: what each is about, and which cannot be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genunlearn.data.network.items import as_items
from genunlearn.data.network.tasks import read_pairs, read_stream, split_classes, without
from genunlearn.errors import DataError, SourceNotFound

LABELS = torch.arange(24) % 6
TRAIN = as_items((torch.arange(24.0)[:, None], LABELS), prefix="i-")
TASKS = ((0, 1), (2, 3), (4, 5))


def stream(*requests, seed=0):
    return read_stream(TRAIN, TASKS, requests, seed=seed)


def test_classes_are_shared_out_in_order():
    assert split_classes(range(6), 3) == TASKS
    assert split_classes(range(6), [[5, 0], [2]]) == ((5, 0), (2,))


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        (4, "cannot be shared out evenly"),
        (7, "cannot be shared out evenly"),
        ((), "request.tasks is empty"),
        (((0,), ()), "task 1 has no class"),
        (((0,), (0, 1)), "class 0 stands twice"),
        (((9,),), "class 9 does not occur"),
    ],
)
def test_tasks_that_cannot_be(tasks, said):
    with pytest.raises(DataError, match=said):
        split_classes(range(6), tasks)


def test_a_request_holds_what_is_known_then(tmp_path):
    (tmp_path / "rows.txt").write_text("6\n12\n")  # both of class 0
    asked = ["learn:0", "forget:class:1", f"forget:index:{tmp_path / 'rows.txt'}", "learn:2", "forget:task:0"]
    found = stream(*asked)
    assert [one.kind for one in found] == ["learn", "forget", "forget", "learn", "forget"]
    assert [len(one.items) for one in found] == [8, 4, 2, 8, 2]
    assert found[4].ids == {"i-0", "i-18"}  # what is left of the task
    assert [one.is_whole for one in found if one.kind == "forget"] == [True, False, True]


def test_a_share_is_drawn_of_what_is_known_by_the_seed():
    first, again, other = (stream("learn:1", "forget:random:3", seed=seed)[1] for seed in (0, 0, 5))
    assert first.ids == again.ids != other.ids and first.ids < stream("learn:1")[0].ids


def test_an_oracle_learns_the_rest():
    found = stream("learn:0", "learn:1", "forget:task:0", "learn:2")
    left = without(found, found[2].ids)
    assert [None if one is None else one.text for one in left] == [None, "learn:1", None, "learn:2"]


BAD = {
    "nothing": ((), "the stream is empty"),
    "word": (("teach:0",), "begins with learn or forget"),
    "task": (("learn:3",), "there are tasks 0 to 2"),
    "no task": (("learn:x",), "'x' is no number of a task"),
    "twice": (("learn:0", "learn:0"), "request 2, 'learn:0': task 0 is learnt already"),
    "too early": (("forget:class:0",), "request 1, .* nothing is learnt at that point"),
    "never learnt": (("learn:0", "forget:class:2"), "class 2 is not known at that point of the stream; known: 0, 1"),
    "unknown class": (("learn:0", "forget:class:77"), "class 77 is not known"),
    "never learnt task": (("learn:0", "forget:task:1"), "task 1 is not known"),
    "gone": (("learn:0", "learn:1", "forget:class:0", "forget:class:0"), "class 0 is not known"),
    "everything": (("learn:0", "forget:task:0"), "leaves nothing that was learnt"),
    "kind": (("learn:0", "forget:digit:0"), "'digit' is no kind of forget set"),
    "amount": (("learn:0", "forget:random:many"), "'many' is no share or number"),
    "too many": (("learn:0", "forget:random:99"), "amount = 99 of 8 items"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_stream_that_cannot_be_is_one_clear_line(name):
    requests, said = BAD[name]
    with pytest.raises(DataError, match=said) as error:
        stream(*requests)
    assert "\n" not in str(error.value)


def test_rows_that_are_not_known_then(tmp_path):
    (tmp_path / "rows.txt").write_text("2\n")
    with pytest.raises(DataError, match=r"row 2 \(item 'i-2'\) was never learnt up to there"):
        stream("learn:0", f"forget:index:{tmp_path / 'rows.txt'}")
    np.save(tmp_path / "none.npy", np.zeros(24, dtype=bool))
    with pytest.raises(DataError, match="marks no item"):
        stream("learn:0", f"forget:mask:{tmp_path / 'none.npy'}")
    with pytest.raises(SourceNotFound, match="no file"):
        stream("learn:0", "forget:index:/nowhere.txt")


def arrays(path, **changed):
    usual = {
        "x_train": np.array([[[0, 255], [51, 204]]], dtype=np.uint8),
        "y_train": np.array([7], dtype=np.uint8),
        "x_test": np.zeros((2, 2, 2), dtype=np.uint8),
        "y_test": np.array([1, 2], dtype=np.uint8),
    }
    np.savez(path, **{key: value for key, value in {**usual, **changed}.items() if value is not None})
    return path


def test_pictures_of_bytes_become_numbers_from_minus_one_to_one(tmp_path):
    train, test = read_pairs(arrays(tmp_path / "mnist.npz"))
    assert train[0].inputs["x"].shape == (1, 2, 2) and int(train[0].target) == 7
    assert train[0].inputs["x"].flatten().tolist() == pytest.approx([-1.0, 1.0, -0.6, 0.6])
    assert [item.id for item in test] == ["test-0", "test-1"]


def test_files_that_hold_something_else(tmp_path):
    with pytest.raises(DataError, match="has no array 'y_test'"):
        read_pairs(arrays(tmp_path / "short.npz", y_test=None))
    with pytest.raises(DataError, match="not a file of arrays"):
        read_pairs(arrays(tmp_path / "code.npz", x_train=np.array([print], dtype=object)))
    (tmp_path / "text.npz").write_text("no arrays")
    with pytest.raises(DataError, match="not a file of arrays"):
        read_pairs(tmp_path / "text.npz")
    with pytest.raises(SourceNotFound, match="no such file"):
        read_pairs(tmp_path / "nowhere.npz")
