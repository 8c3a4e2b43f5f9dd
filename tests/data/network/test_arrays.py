"""Pictures of an ``.npz`` file, and files that are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genunlearn.data.network.arrays import read_pictures
from genunlearn.errors import DataError, SourceNotFound


def columns(**changes: Any) -> dict[str, Any]:
    pictures = np.arange(6 * 4 * 4, dtype=np.uint8).reshape(6, 4, 4)
    kept = {"x_train": pictures, "y_train": np.arange(6), "x_test": pictures[:2], "y_test": np.arange(2)}
    return {name: value for name, value in {**kept, **changes}.items() if value is not None}


def test_bytes_become_pictures_between_minus_1_and_1(tmp_path: Path) -> None:
    full = np.full((2, 4, 4), 255, dtype=np.uint8)
    full[0] = 0
    np.savez(tmp_path / "a.npz", **columns(x_test=full))
    train, test = read_pictures(tmp_path / "a.npz")
    assert len(train) == 6 and train[3].inputs["x"].shape == (1, 4, 4) and int(train[3].target) == 3
    assert [float(item.inputs["x"].mean()) for item in test] == [-1.0, 1.0]


def test_a_limit_draws_by_the_seed(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **columns())
    first, again, other = (
        [int(item.target) for item in read_pictures(tmp_path / "a.npz", limit=3, seed=seed)[0]] for seed in (0, 0, 5)
    )
    assert len(first) == 3 and first == again != other


def test_colours_stand_first(tmp_path: Path) -> None:
    colour = np.zeros((2, 4, 5, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", **columns(x_train=colour, y_train=np.arange(2), x_test=colour))
    assert read_pictures(tmp_path / "a.npz")[0][0].inputs["x"].shape == (3, 4, 5)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"y_test": None}, "has no array 'y_test': give"),
        ({"x_train": np.zeros((6, 4, 4))}, "x_train is float64 of shape"),
        ({"y_train": np.arange(5)}, "y_train of shape"),
        ({"y_train": np.full(6, -1)}, "y_train must hold class numbers from 0 on"),
        ({"y_test": np.array(["a", None], dtype=object)}, "not a file of arrays"),
        ({"x_test": np.zeros((2, 5, 5), dtype=np.uint8)}, "training and test pictures differ in size"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    np.savez(tmp_path / "a.npz", **columns(**changes))
    with pytest.raises(DataError, match=complaint) as caught:
        read_pictures(tmp_path / "a.npz")
    assert "\n" not in str(caught.value)


def test_no_file_and_no_archive_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match=r"no file .*: name an .npz file with x_train"):
        read_pictures(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(DataError, match="not a file of arrays"):
        read_pictures(tmp_path / "text.npz")
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(DataError, match="not a file of arrays"):
        read_pictures(tmp_path / "one.npy")
