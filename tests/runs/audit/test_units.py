"""Finished units are read back as they were, and a damaged one is named with its remedy."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
import torch

from genunlearn.engine.progress import Watch
from genunlearn.errors import InputError
from genunlearn.runs.audit.units import Units

VALUE = {"shown": 3, "n": 8}


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
