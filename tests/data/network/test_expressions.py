"""Expression data sets in their layouts, and what is wrong with files from elsewhere."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from PIL import Image

from genunlearn.data.network import expressions
from genunlearn.data.network.expressions import CLIP_FRAMES, clip_picture, made_clips, read_expressions
from genunlearn.errors import DataError, InputError, SourceNotFound

WHITE = " ".join(["255"] * 48 * 48)
BLACK = " ".join(["0"] * 48 * 48)


def fer(folder, *rows, head="emotion,pixels,Usage"):
    path = folder / "fer2013.csv"
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def paint(path, level, size=(10, 12)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, level, dtype=np.uint8)).save(path)


def test_rows_of_fer_are_pictures(tmp_path):
    path = fer(tmp_path, f"0,{WHITE},Training", f"6,{BLACK},PrivateTest", f"3,{WHITE},PublicTest")
    train, test = read_expressions(path, 16)
    assert [int(item.target) for item in train] == [0] and [int(item.target) for item in test] == [6]
    assert torch.allclose(train[0].inputs["x"], torch.ones(1, 16, 16)) and float(test[0].inputs["x"].max()) == -1


BAD_ROWS = {
    "emotion": (f"7,{WHITE},Training", "emotion '7'"),
    "no number": (f"x,{WHITE},Training", "from 0 to 6"),
    "usage": (f"0,{WHITE},Train", "Usage 'Train'"),
    "few": ("0,1 2 3,Training", "3 pixels"),
    "bright": (f"0,{WHITE[:-3]}256,Training", "pixel '256'"),
    "negative": (f"0,{WHITE[:-3]}-1,Training", "pixel '-1'"),
    "other digits": (f"0,{WHITE[:-3]}²,Training", "pixel '²'"),
    "short": ("0", "Usage 'None'"),
    "quote": ('0,"abc', "not a CSV file"),
    "long": (f"0,{'1' * 140_000},Training", "not a CSV file"),
}


@pytest.mark.parametrize(("row", "message"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_a_bad_row_is_named(row, message, tmp_path):
    with pytest.raises(DataError, match=message) as caught:
        read_expressions(fer(tmp_path, f"0,{WHITE},Training", row), 16)
    assert "fer2013.csv" in str(caught.value) and len(str(caught.value)) < 300


def test_a_file_of_something_else_is_refused(tmp_path):
    with pytest.raises(DataError, match="no column Usage"):
        read_expressions(fer(tmp_path, head="emotion,pixels"), 16)
    with pytest.raises(DataError, match="no test items"):
        read_expressions(fer(tmp_path, f"0,{WHITE},Training"), 16)
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="UTF-8"):
        read_expressions(tmp_path / "binary.csv", 16)
    with pytest.raises(SourceNotFound, match="no such file"):
        read_expressions(tmp_path / "nowhere", 16)


def test_what_cannot_be_read_to_its_end_is_refused(tmp_path):
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(DataError, match="the file is empty: give the columns emotion, pixels and Usage"):
        read_expressions(tmp_path / "empty.csv", 16)
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(SourceNotFound, match="it is a pipe or a device"):
        read_expressions(tmp_path / "pipe.csv", 16)


def test_folders_of_pictures(tmp_path):
    for split in ("train", "test"):
        paint(tmp_path / split / "happy" / "a.png", 255)
        paint(tmp_path / split / "sad" / "b.png", 0)
    (tmp_path / "train" / "sad" / "notes.txt").write_text("not looked at")
    train, test = read_expressions(tmp_path, 8)
    assert [(item.id, int(item.target)) for item in train] == [("train/happy/a.png", 0), ("train/sad/b.png", 1)]
    assert len(test) == 2 and train[0].inputs["x"].shape == (1, 8, 8)


def test_frames_of_a_clip_come_in_natural_order(tmp_path):
    for name in ("fear", "joy"):
        for clip in range(4):
            for number in range(1, 12):  # frame 10 comes after frame 9, not after frame 1
                paint(tmp_path / name / f"s{clip}" / f"img{number}.png", 10 * number)
    train, test = read_expressions(tmp_path, 8)
    assert (len(train), len(test)) == (6, 2) and test[0].id == "fear/s3"
    rising = torch.stack([torch.full((1, 8, 8), 10 * number / 127.5 - 1) for number in range(1, 12)])
    assert torch.allclose(train[0].inputs["x"], clip_picture(rising), atol=1e-5)


def bad_picture(root):
    (root / "a" / "x.png").write_bytes(b"not a picture")


def large_picture(root):
    paint(root / "a" / "x.png", 3, (1, expressions.LARGEST_SIDE + 1))


def cut_picture(root):
    paint(root / "a" / "x.png", 3, (64, 64))
    (root / "a" / "x.png").write_bytes((root / "a" / "x.png").read_bytes()[:60])


def one_frame(root):
    paint(root / "a" / "clip" / "f.png", 3)


def one_class(root):
    (root / "b").rmdir()


def few_pictures(root):
    for name in "ab":
        paint(root / name / "x.png", 3)


def lone_split(root):
    paint(root / "train" / "a" / "x.png", 3)


HOSTILE = {
    bad_picture: "not a picture",
    large_picture: "at most 4096",
    cut_picture: "not a picture",
    one_frame: "1 frames",
    one_class: "1 class folders",
    few_pictures: "no class has 4 pictures or clips",
    lone_split: "only train",
}


@pytest.mark.parametrize(("spoil", "message"), HOSTILE.items(), ids=[one.__name__ for one in HOSTILE])
def test_a_hostile_folder_is_refused_in_one_line(spoil, message, tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    spoil(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        read_expressions(tmp_path, 8)
    assert "\n" not in str(caught.value)


def test_made_clips_move_as_their_class_says():
    blob = torch.full((1, 8, 8), -1.0)
    blob[0, 3:5, 3:5] = 1
    clips = list(made_clips([blob] * 4))
    assert [target for _, target in clips] == [0, 1, 2, 3]
    rows = torch.arange(16.0)
    for frames, target in clips:
        assert frames.shape == (CLIP_FRAMES, 1, 16, 16)
        mass = frames[:, 0] + 1
        height = (mass.sum(2) * rows).sum(1) / mass.sum((1, 2))
        moved = float(height[-1] - height[0])
        assert (moved < -1, moved > 1) == (target == 0, target == 1)  # the first rises, the second falls
    for (one, _), (again, _) in zip(clips, made_clips([blob] * 4), strict=True):
        assert torch.equal(one, again)
