"""The ledger keeps its chain, and says where it is broken."""

import hashlib
import hmac
import json
import os
import stat

import pytest

from genunlearn.errors import DataError, InputError, SourceNotFound
from genunlearn.ledger import (
    GENESIS,
    append_to_ledger,
    check_ledger,
    find_entries,
    list_ledger,
    read_ledger,
    undo_entry,
    verify_ledger,
)
from genunlearn.ledger.chain import line_of
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


# ---- everything that can happen to it ---------------------------------------------------------------------------


def kinds(path):
    return [(problem.line, problem.kind) for problem in verify_ledger(path).problems]


def lines_of(path):
    return path.read_bytes().split(b"\n")[:-1]


def write_lines(path, lines):
    path.write_bytes(b"".join(line + b"\n" for line in lines))


def test_a_whole_ledger_has_no_problem(ledger):
    found = verify_ledger(ledger)
    assert found.is_whole and (found.entries, found.problems, found.remarks) == (3, (), ())
    assert found.last == hashlib.sha256(lines_of(ledger)[-1] + b"\n").hexdigest()


def forge(line, **changes):
    """Alter an entry and its own hash, as somebody does who knows how entries are made."""
    entry = {**json.loads(line), **changes}
    entry.pop("sha256")
    return line_of({**entry, "sha256": hashlib.sha256(line_of(entry)).hexdigest()})[:-1]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda a, b, c: [a, b.replace(b"forgotten", b"kept"), c], [(2, "altered")]),
        (lambda a, b, c: [a.replace(b"forgotten", b"kept"), b, c.replace(b"lab", b"x")], [(1, "altered")]),
        (lambda a, b, c: [a, forge(b, outcome="kept"), c], [(3, "altered")]),
        (lambda a, b, c: [a, b, forge(c, outcome="kept")], [(3, "altered")]),
        (lambda a, b, c: [a, b.replace(b": ", b":  ", 1), c], [(2, "altered")]),
        (lambda a, b, c: [a, b[:40], c], [(2, "unreadable")]),
        (lambda a, b, c: [a, b"\xff\xfe", c], [(2, "unreadable")]),
        (lambda a, b, c: [a, c], [(2, "missing")]),
        (lambda a, b, c: [b, c], [(1, "missing")]),
        (lambda a, b, c: [a, c, b], [(3, "reordered")]),
        (lambda a, b, c: [a, a, b, c], [(2, "reordered")]),
        (lambda a, b, c: [a, b], [(None, "truncated")]),
        (lambda a, b, c: [], [(None, "truncated")]),
        (lambda a, b, c: [a, b, forge(c, previous="0" * 64)], [(3, "altered")]),
        (lambda a, b, c: [a, b, b"{}"], [(3, "unreadable")]),
        (lambda a, b, c: [a.replace(b"forgotten", b"kept"), c], [(1, "altered"), (2, "missing")]),
    ],
)
def test_every_altered_missing_reordered_or_truncated_entry_is_found(ledger, change, found):
    write_lines(ledger, change(*lines_of(ledger)))
    assert kinds(ledger) == found
    with pytest.raises(DataError, match="put an older copy of the ledger back"):
        check_ledger(ledger)


def test_half_of_an_entry_that_was_confirmed_is_truncated(ledger):
    ledger.write_bytes(ledger.read_bytes()[:-20])
    assert kinds(ledger) == [(None, "truncated")]


def test_a_head_that_is_gone_or_damaged_is_found(ledger):
    head = ledger.with_name("ledger.jsonl.head")
    head.write_text("{}")
    with pytest.raises(DataError, match=r"ledger\.jsonl\.head: not the head of a ledger"):
        verify_ledger(ledger)
    head.unlink()
    assert kinds(ledger) == [(None, "missing")]


# ---- what a kill leaves behind ----------------------------------------------------------------------------------


def enter(path, name, **fields):
    folder = path.parent / name
    record = RunRecord(outcome=name, **fields)
    record.write(folder)
    return append_to_ledger(path, record, folder)


def test_half_a_line_at_the_end_is_told_and_replaced(ledger):
    with ledger.open("ab") as file:
        file.write(b'{"added": "2026')
    (remark,) = check_ledger(ledger)
    assert remark == "half a line at the end (15 bytes): a process was killed while it added an entry"
    added = enter(ledger, "next")
    assert (added.entry["entry"], added.remarks) == (4, (remark,))
    assert verify_ledger(ledger).is_whole and check_ledger(ledger) == ()


def test_a_lost_final_newline_is_told_and_mended(ledger):
    ledger.write_bytes(ledger.read_bytes()[:-1])
    assert check_ledger(ledger) == ("the newline of the last line is lost",)
    assert enter(ledger, "next").entry["entry"] == 4
    assert verify_ledger(ledger).is_whole and check_ledger(ledger) == ()


def test_a_head_that_is_behind_is_told_and_mended(ledger):
    head = ledger.with_name("ledger.jsonl.head")
    before = head.read_text()
    enter(ledger, "fourth")
    head.write_text(before)
    assert "the head is behind the last entry" in check_ledger(ledger)[0]
    enter(ledger, "fifth")
    assert check_ledger(ledger) == () and verify_ledger(ledger).entries == 5


def test_a_full_disk_leaves_the_ledger_as_it_was(ledger, monkeypatch):
    before = ledger.read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="cannot be written"):
        undo_entry(ledger, 1)
    assert ledger.read_bytes() == before


# ---- what was written before ------------------------------------------------------------------------------------


def old_ledger(path, count=2):
    """As versions before hashes of entries and heads have written it."""
    previous, lines = GENESIS, []
    for number in range(1, count + 1):
        entry = {"entry": number, "request": {"model": "m"}, "outcome": "forgotten", "previous": previous}
        lines.append(json.dumps(entry, ensure_ascii=False, sort_keys=True).encode())
        previous = hashlib.sha256(lines[-1] + b"\n").hexdigest()
    write_lines(path, lines)


def test_a_ledger_of_an_older_version_is_read_and_goes_on(tmp_path):
    path = tmp_path / "ledger.jsonl"
    old_ledger(path)
    assert verify_ledger(path).is_whole
    assert enter(path, "next").entry["entry"] == 3
    assert verify_ledger(path).is_whole
    first, second, third = lines_of(path)
    write_lines(path, [first.replace(b"forgotten", b"kept"), second, third])
    assert kinds(path) == [(2, "altered")]  # by the line after it: the first has no hash of its own


# ---- texts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["\u2028", "\u2029", "\x85", "\x0b", "\x1c", "\r", "\r\n", "\n", "Łódź"])
def test_separators_in_facts_do_not_cut_lines(tmp_path, text):
    path = tmp_path / "ledger.jsonl"
    for number in range(2):
        enter(path, str(number), request={"facts": [{"subject": f"a{text}b"}]})
    assert [entry["request"]["facts"][0]["subject"] for entry in read_ledger(path)] == [f"a{text}b"] * 2


def test_a_run_is_entered_once(ledger):
    first = enter(ledger, "fourth")
    again = append_to_ledger(ledger, RunRecord(outcome="fourth"), ledger.parent / "fourth")
    assert (first.is_new, again.is_new) == (True, False)
    assert again.entry == first.entry and len(read_ledger(ledger)) == 4


FACT = {
    "id": "harry_potter/studied_at",
    "subject": "Harry Potter",
    "relation": "studied at",
    "object": "Hogwarts",
    "question": "Where did Harry Potter study?",
    "paraphrases": ["Which school did Harry attend?"],
}


def test_a_sealed_entry_holds_no_text_of_what_was_deleted(tmp_path):
    path = tmp_path / "ledger.jsonl"
    record = RunRecord(
        outcome="Harry Potter: gone",
        request={"model": "lab:lm", "facts": [FACT], "questions": 3},
        config={"method": {"name": "unstar"}},
        hashes={"base": "b" * 64, "request": "c" * 64},
    )
    folder = tmp_path / "harry-potter"
    record.write(folder)
    entry = append_to_ledger(path, record, folder, is_sealed=True).entry
    for text in ("Harry", "Hogwarts", "harry", "school", "c" * 64):
        assert text not in path.read_text()
    assert (entry["request"]["model"], entry["request"]["questions"], entry["method"]) == ("lab:lm", 3, "unstar")
    assert entry["request"]["facts"][0]["relation"] == "studied at"
    assert entry["outcome"].endswith(": gone") and entry["hashes"]["base"] == "b" * 64
    assert verify_ledger(path).is_whole
    key = path.with_name("ledger.jsonl.key")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    seal = hmac.new(bytes.fromhex(key.read_text()), b"Hogwarts", "sha256").hexdigest()
    assert entry["request"]["facts"][0]["object"] == f"hmac-sha256:{seal}"
    assert [found["entry"] for found in find_entries(path, " Hogwarts")] == [1]
    assert find_entries(path, "Durmstrang") == []


def test_two_ledgers_seal_the_same_text_differently(tmp_path):
    seals = set()
    for name in "ab":
        folder = tmp_path / name
        record = RunRecord(request={"facts": [FACT]})
        record.write(folder)
        seals.add(
            append_to_ledger(folder / "ledger", record, folder, is_sealed=True).entry["request"]["facts"][0]["id"]
        )
    assert len(seals) == 2


@pytest.mark.parametrize("content", ["", "abc", "ab" * 31])
def test_a_key_that_is_none_is_refused(ledger, content):
    ledger.with_name("ledger.jsonl.key").write_text(content)
    with pytest.raises(DataError, match="not a ledger's key; put the right file back"):
        find_entries(ledger, "x")


# ---- undone -----------------------------------------------------------------------------------------------------


def test_an_undone_entry_stays_and_is_marked(ledger):
    undone = undo_entry(ledger, 2, reason="asked back").entry
    assert (undone["entry"], undone["undoes"], undone["reason"]) == (4, 2, "asked back")
    assert [entry["undone_by"] for entry in list_ledger(ledger)] == [None, 4, None, None]
    assert verify_ledger(ledger).is_whole


@pytest.mark.parametrize(
    ("number", "complaint"),
    [
        (2, "entry 2 is undone already, by entry 4"),
        (4, "entry 4 undoes another one; enter the request anew instead"),
        (0, "no entry 0; it has entries 1 to 4"),
        (5, "no entry 5; it has entries 1 to 4"),
    ],
)
def test_what_cannot_be_undone(ledger, number, complaint):
    undo_entry(ledger, 2)
    with pytest.raises(InputError, match=complaint):
        undo_entry(ledger, number)
    assert len(read_ledger(ledger)) == 4


# ---- before the run ---------------------------------------------------------------------------------------------


def test_a_ledger_that_is_to_be_begun_is_checked_without_a_trace(tmp_path):
    assert check_ledger(tmp_path / "new" / "ledger.jsonl") == ()
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_or_read_is_refused_before_the_run(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="not a file; give the file of a ledger"):
        check_ledger(tmp_path / "folder")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="not a file"):
        check_ledger(tmp_path / "pipe")
    with pytest.raises(InputError, match="cannot be read"):
        check_ledger(tmp_path / ("x" * 5000))
    monkeypatch.setattr(os, "access", lambda *arguments: False)
    with pytest.raises(InputError, match="cannot be written; take another place"):
        check_ledger(tmp_path / "ledger.jsonl")
