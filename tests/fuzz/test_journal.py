"""Damaged journals: refused in one line that names the line, or read without a stage that was never written."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from genunlearn.engine.journal import FileJournal
from genunlearn.errors import InputError
from tests.fuzz.budget import tries
from tests.fuzz.hostile import VALUES, damaged_bytes

STAGES = {"variants": ["a\u2028b", "c"], "round 1/probe": [True, False], "evaluate/original": {"results": [{"n": 1}]}}


def journal_of(folder: Path) -> bytes:
    """The bytes of a sound journal."""
    journal = FileJournal(folder)
    for name, value in STAGES.items():
        journal.stage(name, lambda value=value: value)
    return (folder / "journal.jsonl").read_bytes()


def read_again(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "journal.jsonl").write_bytes(content)
        try:
            journal = FileJournal(folder)
        except InputError as error:
            assert "\n" not in str(error).strip(), error
            assert (folder / "journal.jsonl").read_bytes() == content, "what is refused is left as it is"
            return
        journal.stage("added", lambda: 1)
        again = FileJournal(folder)
        assert again.seconds.keys() == journal.seconds.keys()


with tempfile.TemporaryDirectory() as place:
    SOUND = journal_of(Path(place))


@tries(100)
@given(content=damaged_bytes(SOUND))
def test_a_damaged_journal_is_refused_or_goes_on(content: bytes) -> None:
    read_again(content)


@tries(50)
@given(content=st.one_of(st.binary(max_size=60), st.text(max_size=40).map(str.encode)))
def test_bytes_that_are_no_journal_are_refused_or_dropped(content: bytes) -> None:
    read_again(content)


@tries(50)
@given(value=VALUES)
def test_every_value_comes_back(value: object) -> None:
    with tempfile.TemporaryDirectory() as name:
        try:
            first = FileJournal(Path(name)).stage("s", lambda: value)
        except UnicodeEncodeError:  # half of a surrogate pair, which no model writes
            return
        again = FileJournal(Path(name)).stage("s", lambda: "computed again")
        assert repr(again) == repr(first)
