"""Catalogues in folders: MMRec's and MovieLens's layouts, and what a stranger's file may hold."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from genunlearn.data.recommender.arrays import read_features
from genunlearn.data.recommender.folders import read_catalogue
from genunlearn.data.recommender.interactions import Catalogue
from genunlearn.errors import DataError, SourceNotFound

INTER = "userID\titemID\trating\ttimestamp\tx_label\n0\t0\t5\t1\t0\n0\t2\t5\t2\t1\n1\t1\t5\t3\t0\n1\t0\t4\t4\t2\n"
RATINGS = "userId,movieId,rating,timestamp\n" + "".join(f"7,{movie},5.0,{100 - movie}\n" for movie in range(1, 11))


def folder(tmp_path: Path, **files: str) -> Path:
    for name, text in files.items():
        (tmp_path / name.replace("__", ".")).write_text(text)
    return tmp_path


def test_mmrec_is_read_by_label_and_features_by_number(tmp_path: Path) -> None:
    place = folder(tmp_path, baby__inter=INTER)
    np.save(place / "image_feat.npy", np.arange(6, dtype=np.float64).reshape(3, 2))
    data = read_catalogue(place)
    assert data.train.tolist() == [[0, 0], [1, 1]]
    assert (data.valid.tolist(), data.test.tolist()) == ([[0, 2]], [[1, 0]])
    assert data.items == ("0", "1", "2")
    assert data.features.keys() == {"image"}
    assert torch.equal(data.features["image"], torch.tensor([[0.0, 1], [2, 3], [4, 5]]))


@pytest.mark.parametrize("below", ["", "raw", "raw/ml-latest-small"])
def test_movielens_is_split_by_time_and_low_ratings_do_not_count(tmp_path: Path, below: str) -> None:
    place = tmp_path / below
    place.mkdir(parents=True, exist_ok=True)
    (place / "ratings.csv").write_text(RATINGS + "7,99,3.5,1\n")
    (place / "movies.csv").write_text('movieId,title,genres\n1,"Alien, the film",Horror\n2,Alien,Horror\n')
    data = read_catalogue(tmp_path)
    # Film 1 has the latest time, film 10 the earliest; of ten choices the last is for the test, the one before valid.
    assert data.items == tuple(str(movie) for movie in range(1, 11))
    assert (data.test.tolist(), data.valid.tolist(), len(data.train)) == ([[0, 0]], [[0, 1]], 8)
    assert data.features["text"][1].any() and not data.features["text"][5].any()


BAD = {
    "a word for a number": (INTER.replace("1\t1", "eve\t1"), r"line 4: 'eve' is no whole number"),
    "a label of no split": (INTER.replace("3\t0", "3\t7"), r"x_label = '7': 0 is train, 1 valid, 2 test"),
    "no such column": (INTER.replace("x_label", "split"), r"no column 'x_label'"),
    "a short row": (INTER + "1\t2\n", r"line 6: a value is missing"),
    "a pair twice": (INTER + "0\t0\t5\t9\t2\n", r"user '0' and item '0' stand together more than once"),
    "numbers without end": (INTER + "99999999\t2\t5\t9\t0\n", r"numbers up to 100,000,000 in 5 interactions"),
    "nothing": (INTER.splitlines()[0] + "\n", "no interaction in it"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD.keys())
def test_a_table_that_cannot_be_used_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_catalogue(folder(tmp_path, a__inter=text))
    assert "\n" not in str(caught.value)


def test_folders_that_hold_no_catalogue_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="no such folder"):
        read_catalogue(tmp_path / "nowhere")
    with pytest.raises(SourceNotFound, match=r"neither NAME\.inter"):
        read_catalogue(tmp_path)
    with pytest.raises(DataError, match="keep one"):
        read_catalogue(folder(tmp_path, a__inter=INTER, b__inter=INTER))
    (tmp_path / "b.inter").unlink()
    (tmp_path / "a.inter").write_bytes(b"\xff\xfe\x00userID")
    with pytest.raises(DataError, match="no table of text in UTF-8"):
        read_catalogue(tmp_path)


class Boom:
    """Would write a file if anybody unpickled it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.write_text, (self.path, "opened"))


def header_that_lies() -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "<f4", "fortran_order": False, "shape": (3, 10**12)})
    return out.getvalue() + b"\0" * 64


def archive() -> bytes:
    out = io.BytesIO()
    np.savez(out, a=np.zeros((3, 2)))
    assert zipfile.is_zipfile(out)
    return out.getvalue()


def saved(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


HOSTILE = {
    "a text": (b"not an array", "no array of numbers"),
    "nothing": (b"", "no array of numbers"),
    "a size that is not there": (header_that_lies(), "no array of numbers"),
    "an archive": (archive(), "an archive of arrays"),
    "words": (saved(np.array([["a", "b"]] * 3)), "features are numbers"),
    "one dimension": (saved(np.zeros(3)), r"shape \(3,\)"),
    "too few items": (saved(np.zeros((2, 4))), "features of 2 items, and the interactions have 3"),
    "not a number": (saved(np.array([[0.0], [np.nan], [1]])), "NaN or infinity"),
    "too large": (saved(np.array([[0.0], [1e300], [1]])), "too large for float32"),
}


@pytest.mark.parametrize(("content", "message"), HOSTILE.values(), ids=HOSTILE.keys())
def test_an_array_that_is_none_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "image_feat.npy"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_features(path, 3)
    assert "\n" not in str(caught.value)


def test_an_array_of_objects_is_never_opened(tmp_path: Path) -> None:
    path, trap = tmp_path / "image_feat.npy", tmp_path / "trap"
    np.save(path, np.array([[Boom(trap)]] * 3, dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="no array of numbers"):
        read_features(path, 3)
    assert not trap.exists()


def test_features_that_do_not_fit_the_items_are_refused() -> None:
    pairs, nothing = torch.tensor([[0, 1]]), torch.empty(0, 2, dtype=torch.long)
    with pytest.raises(DataError, match="image features of 3 items, and the interactions have 2"):
        Catalogue(
            users=("a",), items=("b", "c"), train=pairs, valid=nothing, test=nothing,
            features={"image": torch.zeros(3, 2)},
        )  # fmt: skip
    with pytest.raises(DataError, match="name a item outside of 0 to 0"):
        Catalogue(users=("a",), items=("b",), train=pairs, valid=nothing, test=nothing)
