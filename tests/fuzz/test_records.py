"""Damaged records: refused in one line, or shown by every report that reads them."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from genunlearn.errors import InputError
from genunlearn.records import read_record
from genunlearn.reports.reporter import reporter_of
from tests.fuzz.budget import tries
from tests.fuzz.hostile import VALUES, damaged, damaged_bytes
from tests.fuzz.records import KINDS

SOUND = {name: make() for name, make in KINDS.items()}


def show(data: Any) -> str | None:
    """Read a record and write everything that is made of it; returns the refusal, if there is one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        content = data if isinstance(data, bytes) else json.dumps(data).encode()
        (folder / "record.json").write_bytes(content)
        try:
            record = read_record(folder)
            face, console = reporter_of(record), Console(file=io.StringIO(), width=100)
            face.write(record, folder)
            face.show(record, console)
            face.compare({"one": record, "two": record}, folder)
        except InputError as error:
            assert "\n" not in str(error).strip(), error
            return str(error)
    return None


@pytest.mark.parametrize("kind", SOUND)
def test_what_is_damaged_here_is_sound(kind: str) -> None:
    assert show(SOUND[kind]) is None


@tries(12)
@given(data=st.sampled_from(sorted(SOUND)).flatmap(lambda kind: damaged(SOUND[kind])))
def test_a_damaged_record_is_refused_or_shown(data: Any) -> None:
    show(data)


@tries(30)
@given(content=st.sampled_from(sorted(SOUND)).flatmap(lambda kind: damaged_bytes(json.dumps(SOUND[kind]).encode())))
def test_a_record_with_damaged_bytes_is_refused_or_shown(content: bytes) -> None:
    show(content)


@tries(100)
@given(data=VALUES)
def test_json_that_is_no_record_is_refused(data: Any) -> None:
    assert show(data) is not None
