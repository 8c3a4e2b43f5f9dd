"""Files of arrays that are damaged, encrypted or something else, wherever one is read."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genunlearn.data.archives import read_archive
from genunlearn.data.graph.files import read_graph
from genunlearn.data.network.arrays import read_pictures
from genunlearn.data.network.folders import read_item_folder
from genunlearn.data.network.items import as_items
from genunlearn.data.network.subsets import choose
from genunlearn.data.network.tasks import read_pairs
from genunlearn.errors import DataError


def saved(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def zipped(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, content)
    return file.getvalue()


def scrambled() -> bytes:
    """The packed bytes of the first member are others."""
    whole = bytearray(saved(x=np.arange(4000).reshape(-1, 2) ** 2))
    whole[60:300] = bytes(240)
    return bytes(whole)


def encrypted() -> bytes:
    """The flag that says so is set, in the member's own header and in the directory."""
    whole = bytearray(saved(x=np.zeros((2, 2))))
    whole[6] |= 1
    whole[whole.index(b"PK\x01\x02") + 8] |= 1
    return bytes(whole)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "only the magic": lambda: b"PK\x03\x04",
    "cut": lambda: saved(x=np.zeros((20, 20)))[:-30],
    "scrambled": scrambled,
    "encrypted": encrypted,
    "text": lambda: b"hello\n",
    "text in an archive": lambda: zipped("x", b"hello"),
    "objects": lambda: saved(x=np.array([print], dtype=object)),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_of_arrays_is_refused_in_one_line_wherever_it_is_read(
    tmp_path: Path, content: Callable[[], bytes]
) -> None:
    path = tmp_path / "train.npz"
    path.write_bytes(content())
    (rows := tmp_path / "rows.npy").write_bytes(content())
    items = as_items((torch.zeros(3, 1), torch.arange(3)), prefix="")
    readers: tuple[Callable[[], object], ...] = (
        lambda: read_archive(path, ("x",), "x"), lambda: read_graph(path), lambda: read_pictures(path),
        lambda: read_item_folder(tmp_path), lambda: read_pairs(path), lambda: choose(items, f"index:{rows}"),
    )  # fmt: skip
    for read in readers:
        with pytest.raises(DataError) as caught:
            read()
        assert "\n" not in str(caught.value) and "unsafe" not in str(caught.value)


def test_arrays_that_are_no_numbers_are_no_graph_and_no_pictures(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(saved(x=np.array([["a"]]), edge_index=np.zeros((2, 0), dtype=int)))
    with pytest.raises(DataError, match=r"'x' is an array of <U1"):
        read_graph(path)
    path.write_bytes(saved(**dict.fromkeys(("x_train", "y_train", "x_test", "y_test"), np.array(["a"]))))
    with pytest.raises(DataError, match="'x_train' holds no numbers"):
        read_pairs(path)


def test_what_is_wanted_is_read_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(saved(x=np.eye(2), other=np.array([print], dtype=object)))
    assert read_archive(path, ("x",), "x", optional=("y",))["x"].tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("kind", [">i8", "<u2", "<i4"])
def test_a_graph_is_read_from_numbers_of_any_width_and_byte_order(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(saved(x=np.eye(3).astype(">f8"), edge_index=np.array([[0, 1], [1, 2]], dtype=kind)))
    assert read_graph(path).links.tolist() == [[0, 1], [1, 2]]
