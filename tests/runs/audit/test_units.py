"""Finished units are read back as they were, a damaged one is named with its remedy, and each has files of its own."""

from __future__ import annotations

import json
import os
import stat
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch

from genunlearn.engine.progress import Watch
from genunlearn.errors import InputError
from genunlearn.registry import ATTACKS
from genunlearn.runs.diffusion.audit_pictures import Pictures
from genunlearn.runs.units import Units, file_name

VALUE = {"shown": 3, "n": 8}

LABELS = [
    *("c", "c++", "c#", "c+", "猫", "狗", "кот", "пёс", "café", "cafe"),
    *("van gogh", "van-gogh", "van_gogh", "van  gogh"),
    *("a.b", "a b", "..", ".", " cat", "cat", "cat!", "x" * 300, "x" * 301, "~", ""),
]  # fmt: skip


@pytest.fixture
def units(tmp_path: Path) -> Units:
    units = Units(tmp_path / "units", Watch(is_shown=False))
    units.do("first", [("seven/plain/original", lambda: VALUE)])
    return units


def read(units: Units) -> dict[str, Any]:
    def never() -> dict[str, Any]:
        raise AssertionError("done again")

    return units.do("again", [("seven/plain/original", never)])["seven/plain/original"]


def test_a_finished_unit_is_not_done_again(units: Units) -> None:
    assert read(units) == VALUE


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ([], "the unit: Input should be a valid dictionary"),
        ({}, "the unit: .*it holds no result"),
        ({"shown": 9, "n": 8}, "the unit: .*shown must be 0 to n"),
        ({"shown": 3}, "it holds no result"),
        ({"shown": "3", "n": 8}, "shown"),
        ({"shown": 3, "n": 8, "psis": [0.1]}, "one count a psi is needed"),
        ({"results": [{"name": "a"}]}, r"results\.0\.target: Field required"),
        ({"results": {"name": "a"}}, "results: Input should be a valid list"),
    ],
)
def test_a_damaged_unit_is_named_with_its_remedy(units: Units, value: Any, complaint: str) -> None:
    (path,) = units.folder.iterdir()
    path.write_text(json.dumps(value))
    with pytest.raises(InputError, match=complaint) as caught:
        read(units)
    assert str(caught.value).startswith(str(path)) and str(caught.value).endswith(
        "remove the file, and the unit is done anew"
    )


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"n": NaN}', b"[" * 10_000])
def test_a_unit_that_is_no_json_is_refused(units: Units, content: bytes) -> None:
    (path,) = units.folder.iterdir()
    path.write_bytes(content)
    with pytest.raises(InputError, match="the finished unit is damaged"):
        read(units)


def test_images_of_a_unit_come_back_and_damaged_ones_are_named(units: Units) -> None:
    images = {"images": torch.tensor([0.0, 0.2, 1.0]).view(1, 3, 1, 1)}
    before = os.umask(0o022)
    try:
        units.keep_images("seven/plain/original", images)
    finally:
        os.umask(before)
    assert torch.equal(units.images("seven/plain/original")["images"], images["images"])
    path = next(path for path in units.folder.iterdir() if path.suffix == ".safetensors")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"images that cannot be read .*; remove this file and seven-.*\.json beside"):
        units.images("seven/plain/original")


def units_in(folder: Path) -> Units:
    return Units(folder, Watch(is_shown=False))


def test_every_concept_has_files_of_its_own(tmp_path: Path) -> None:
    for label in LABELS:
        unit = (f"{label}/p4d/original", lambda label=label: {"n": 1, "label": label})
        done = units_in(tmp_path).do("", [unit])
        assert done[f"{label}/p4d/original"] == {"n": 1, "label": label}
    assert len(list(tmp_path.iterdir())) == len(LABELS)
    names = {Pictures(tmp_path)._path(f"{label}/p4d/original", 0) for label in LABELS}
    assert len(names) == len(LABELS) and not any(".." in name.split("/") for name in names)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("cat/plain prompts/original", "cat-plain-prompts-original"),
        ("Van Gogh/lora_removal/unlearned", "van-gogh-lora_removal-unlearned"),
        ("digit three/scores", "digit-three-scores"),
    ],
)
def test_plain_names_are_those_of_before(name: str, file: str, tmp_path: Path) -> None:
    units_in(tmp_path).do("", [(name, lambda: VALUE)])
    assert [path.name for path in tmp_path.iterdir()] == [f"{file}.json"]


def test_pictures_of_plain_names_are_where_they_were(tmp_path: Path) -> None:
    Pictures(tmp_path).write("Van Gogh/psi = 0.5/original", torch.zeros(1, 3, 2, 2))
    (path,) = tmp_path.rglob("*.png")
    assert path.parent.relative_to(tmp_path).parts[-3:] == ("van-gogh", "psi-=-0.5", "original")


def test_no_attack_s_name_ends_in_another_s() -> None:
    # The words of a concept and of an attack stand side by side in the name of a file.
    names = [f"-{file_name(name)}" for name in (*ATTACKS.names("diffusion"), "plain prompts", "completed", "pool")]
    assert not [pair for pair in combinations(names, 2) if pair[0].endswith(pair[1]) or pair[1].endswith(pair[0])]
