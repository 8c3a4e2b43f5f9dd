"""The ledger keeps its chain, and says where it is broken."""

import json

import pytest

from genunlearn.errors import DataError, SourceNotFound
from genunlearn.ledger import GENESIS, append_to_ledger, read_ledger
from genunlearn.records import RunRecord


@pytest.fixture
def ledger(tmp_path):
    path = tmp_path / "ledger.jsonl"
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        record = RunRecord(outcome="forgotten", request={"model": "m", "number": number}, hashes={"base": "b" * 64})
        record.write(folder)
        append_to_ledger(path, record, folder)
    return path


def test_entries_are_numbered_and_chained(ledger):
    first, second, third = read_ledger(ledger)
    assert (first["entry"], first["previous"]) == (1, GENESIS)
    assert len({first["previous"], second["previous"], third["previous"]}) == 3
    assert third["request"]["number"] == 2


def test_a_changed_line_is_found_by_its_own_hash(ledger):
    lines = ledger.read_text().splitlines(keepends=True)
    lines[1] = lines[1].replace("forgotten", "not_forgotten")
    ledger.write_text("".join(lines))
    with pytest.raises(DataError, match=r"ledger\.jsonl:2: the entry does not fit its own hash; it was changed"):
        read_ledger(ledger)


def test_a_removed_line_is_found(ledger):
    lines = ledger.read_text().splitlines(keepends=True)
    ledger.write_text(lines[0] + lines[2])
    with pytest.raises(DataError, match=":2:"):
        read_ledger(ledger)


def test_nothing_is_added_to_a_damaged_ledger(ledger, tmp_path):
    ledger.write_text("nonsense\n")
    with pytest.raises(DataError, match=":1: not an entry in JSON"):
        append_to_ledger(ledger, RunRecord(), tmp_path / "0")
    assert ledger.read_text() == "nonsense\n"


def test_entries_name_the_record_by_its_hash(ledger):
    entry = json.loads(ledger.read_text().splitlines()[0])
    assert len(entry["record_sha256"]) == 64 and entry["hashes"] == {"base": "b" * 64}


def test_no_ledger(tmp_path):
    with pytest.raises(SourceNotFound, match="no ledger"):
        read_ledger(tmp_path / "none.jsonl")
