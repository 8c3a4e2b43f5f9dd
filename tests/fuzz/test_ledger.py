"""Damaged ledgers: every alteration is found, and none makes the reader fail in another way."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from genunlearn.errors import InputError
from genunlearn.ledger import append_to_ledger, find_entries, list_ledger, undo_entry, verify_ledger
from genunlearn.ledger.chain import digest_of, line_of, read_chain
from genunlearn.records import RunRecord
from tests.fuzz.budget import tries
from tests.fuzz.hostile import VALUES, damaged, damaged_bytes

FACT = {"subject": "Łódź\u2028", "object": "a\x85b", "relation": "lies in"}


def fill(path: Path, requests: list[dict[str, Any]]) -> None:
    for number, request in enumerate(requests):
        record = RunRecord(outcome=f"forgotten {number}", request=request)
        folder = path.parent / str(number)
        record.write(folder)
        append_to_ledger(path, record, folder, is_sealed=number % 2 == 1)


with tempfile.TemporaryDirectory() as place:
    fill(Path(place) / "ledger.jsonl", [{"facts": [FACT], "number": number} for number in range(4)])
    undo_entry(Path(place) / "ledger.jsonl", 2, reason="asked back")
    SOUND, HEAD = ((Path(place) / name).read_bytes() for name in ("ledger.jsonl", "ledger.jsonl.head"))


def look_at(content: bytes, head: bytes = HEAD) -> bool:
    """Read a ledger in every way; returns whether it is taken for whole."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "ledger.jsonl"
        path.write_bytes(content)
        path.with_name("ledger.jsonl.head").write_bytes(head)
        try:
            found = verify_ledger(path)
            assert all(problem.text for problem in found.problems)
            list_ledger(path)
            find_entries(path, "Łódź")
            record = RunRecord(outcome="added")
            record.write(Path(name) / "run")
            append_to_ledger(path, record, Path(name) / "run")
        except InputError as error:
            assert "\n" not in str(error).strip(), error
            return False
        assert verify_ledger(path).is_whole and not verify_ledger(path).remarks
        return found.is_whole


@tries(60)
@given(content=damaged_bytes(SOUND))
def test_every_alteration_is_found(content: bytes) -> None:
    is_whole = look_at(content)
    lacks_nothing = content.removesuffix(b"\n").startswith(SOUND.removesuffix(b"\n"))
    # Half a line behind the last one is what a killed process leaves; everything else must be told.
    assert not is_whole or (lacks_nothing and content.count(b"\n") <= SOUND.count(b"\n"))


@tries(40)
@given(data=damaged([json.loads(line) for line in SOUND.decode().split("\n")[:-1]]), is_signed=st.booleans())
def test_entries_of_any_shape_are_refused_or_read(data: list[Any], is_signed: bool) -> None:
    lines = []
    for entry in data:
        try:
            if is_signed and isinstance(entry, dict):  # a forger who knows how entries are made
                entry = {key: value for key, value in entry.items() if key != "sha256"}
                entry["sha256"] = digest_of(line_of(entry))
            lines.append(line_of(entry))
        except ValueError:
            lines.append(json.dumps(entry).encode() + b"\n")
    content = b"".join(lines)
    assert look_at(content) == (content == SOUND)


@tries(40)
@given(content=st.binary(max_size=80), head=st.one_of(st.binary(max_size=20), st.just(HEAD)))
def test_bytes_that_are_no_ledger_are_refused(content: bytes, head: bytes) -> None:
    read_chain(content, None)
    assert not look_at(content, head)


@tries(30)
@given(requests=st.lists(st.dictionaries(st.text(max_size=3), VALUES, max_size=3), max_size=3))
def test_what_is_entered_comes_back(requests: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        path, given_back = Path(name) / "ledger.jsonl", []
        for number, request in enumerate(requests):
            try:
                fill_one(path, number, request)
            except (InputError, ValueError):  # NaN, half of a surrogate pair: no record holds them either
                continue
            given_back.append(json.loads(json.dumps(request)))
        if given_back:
            assert [entry["request"] for entry in list_ledger(path)] == given_back


def fill_one(path: Path, number: int, request: dict[str, Any]) -> None:
    record = RunRecord(outcome=f"forgotten {number}", request=request)
    record.write(path.parent / str(number))
    append_to_ledger(path, record, path.parent / str(number))
