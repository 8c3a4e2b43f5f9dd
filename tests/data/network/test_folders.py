"""Folders of labelled items: every form that is read, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from genunlearn.data.network.folders import read_item_folder
from genunlearn.errors import DataError, SourceNotFound


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    monkeypatch.setattr(datasets.utils.logging, "is_progress_bar_enabled", lambda: False)


def arrays(folder: Path, name: str, x: np.ndarray, y: np.ndarray, **more: np.ndarray) -> None:
    np.savez(folder / f"{name}.npz", x=x, y=y, **more)


def letters(text: str) -> dict[str, torch.Tensor]:
    return {"input_ids": torch.tensor([ord(letter) for letter in text])}


def test_arrays(tmp_path: Path) -> None:
    arrays(tmp_path, "train", np.eye(3, dtype=np.float32), np.array([0, 1, 2]), subclass=np.array([4, 5, 6]))
    arrays(tmp_path, "test", np.zeros((1, 3), dtype=np.float32), np.array([1]))
    splits = read_item_folder(tmp_path)
    assert list(splits) == ["train", "test"]
    first = splits["train"][0]
    assert (first.id, int(first.target), first.subclass) == ("train-0", 0, 4)
    assert torch.equal(first.inputs["x"], torch.tensor([1.0, 0.0, 0.0]))


def test_rows_of_text(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\nab,0\ncd,1\n")
    (tmp_path / "test.jsonl").write_text('{"text": "b", "label": 1}\n')
    splits = read_item_folder(tmp_path, encode=letters)
    assert [item.inputs["input_ids"].tolist() for item in splits["train"]] == [[97, 98], [99, 100]]
    assert int(splits["test"][0].target) == 1


def test_folders_of_pictures(tmp_path: Path) -> None:
    from PIL import Image

    for name in ("train/cat", "train/dog", "test/dog"):
        (tmp_path / name).mkdir(parents=True)
        Image.new("L", (2, 2), 255 if "dog" in name else 0).save(tmp_path / name / "one.png")
    splits = read_item_folder(
        tmp_path, encode=lambda image: {"pixel_values": torch.from_numpy(np.array(image)).float()}
    )
    labels = {int(item.target): float(item.inputs["pixel_values"].mean()) for item in splits["train"]}
    assert labels == {0: 0.0, 1: 255.0}
    assert int(splits["test"][0].target) == 1  # a dog is a dog where there are no cats
    (tmp_path / "test" / "dog" / "notes.txt").write_text("not a picture")
    with pytest.raises(DataError, match=r"notes\.txt: not a picture"):
        read_item_folder(tmp_path)


def test_what_a_dataset_dictionary_has_saved(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    rows = Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]})
    DatasetDict({"train": rows, "test": rows, "other": rows}).save_to_disk(tmp_path / "data")
    assert list(read_item_folder(tmp_path / "data", encode=letters)) == ["train", "test"]


def test_numbers_that_are_none(tmp_path: Path) -> None:
    x = np.eye(2, dtype=np.float32)
    x[1, 0] = np.nan
    arrays(tmp_path, "train", x, np.array([0, 1]))
    with pytest.raises(DataError, match=r"split train: train-1: 'x' holds NaN or infinity"):
        read_item_folder(tmp_path)


def test_a_row_without_text(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\nab,0\n,1\n")
    with pytest.raises(DataError, match="a row without text or image"):
        read_item_folder(tmp_path, encode=letters)


@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_table_with_other_marks_between_columns(mark: str, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("a,b,label\n1.5,2,1\n".replace(",", mark))
    item = read_item_folder(tmp_path)["train"][0]
    assert (float(item.inputs["a"]), int(item.inputs["b"]), int(item.target)) == (1.5, 2, 1)


def test_a_split_without_rows(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("a,label\n1,0\n")
    (tmp_path / "test.csv").write_text("a,label\n")
    with pytest.raises(DataError, match=r"test\.csv: cannot be read .*with a row for each item"):
        read_item_folder(tmp_path)


def test_texts_where_numbers_are_needed(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("a,label\n1,bad\n2,good\n")
    with pytest.raises(DataError, match="split train: train-0: target: 'bad' is a text: number the classes"):
        read_item_folder(tmp_path)
    (tmp_path / "train.csv").write_text("a,sex,label\n1,f,0\n2,m,1\n")
    with pytest.raises(DataError, match="train-0: input 'sex': 'f' is a text: encode it as numbers"):
        read_item_folder(tmp_path)


def test_splits_that_do_not_go_together(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="no split in it"):
        read_item_folder(tmp_path)
    arrays(tmp_path, "test", np.eye(2, dtype=np.float32), np.array([0, 1]))
    with pytest.raises(DataError, match="holds test: give train and test, or forget, retain and test"):
        read_item_folder(tmp_path)
    for name in ("train", "forget"):
        arrays(tmp_path, name, np.eye(2, dtype=np.float32), np.array([0, 1]))
    with pytest.raises(DataError, match="holds train, forget, test"):
        read_item_folder(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "No columns"), (b"x,label\n\xe4,1\n", "codec can't decode")], ids=["empty", "latin"]
)
def test_a_table_that_the_library_cannot_read_is_refused_in_one_line(
    content: bytes, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "train.csv").write_bytes(content)
    with pytest.raises(DataError, match=reason) as caught:
        read_item_folder(tmp_path)
    assert "train.csv" in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_that_is_not_there_and_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="no such folder"):
        read_item_folder(tmp_path / "gone")
    (tmp_path / "table.csv").write_text("x,label\n1,0\n")
    with pytest.raises(SourceNotFound, match="is no folder: give the folder that holds train and test"):
        read_item_folder(tmp_path / "table.csv")
    np.savez(tmp_path / "train.npz", pictures=np.eye(2))
    with pytest.raises(DataError, match=r"train\.npz: has no array 'x': give arrays x and y"):
        read_item_folder(tmp_path)
    (tmp_path / "train.npz").write_bytes(b"PK damaged")
    with pytest.raises(DataError, match=r"train\.npz: not a file of arrays"):
        read_item_folder(tmp_path)
