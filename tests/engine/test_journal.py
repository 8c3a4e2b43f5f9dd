"""The journal: what is done is not done again, whatever the last line looks like."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from genunlearn.engine.journal import FileJournal
from genunlearn.engine.progress import Watch
from genunlearn.errors import DataError


def never() -> None:
    raise AssertionError("computed again")


def test_a_stage_is_computed_once_and_read_back(tmp_path):
    journal = FileJournal(tmp_path)
    assert journal.stage("variants", lambda: ["a", "b"]) == ["a", "b"]
    assert journal.stage("variants", never) == ["a", "b"]
    again = FileJournal(tmp_path)
    assert again.stage("variants", never) == ["a", "b"]
    assert again.seconds.keys() == {"variants"}


def test_values_look_the_same_before_and_after_an_interruption(tmp_path):
    # Tuples and integer keys change their form in JSON: they do so at once, not only after a resume.
    first = FileJournal(tmp_path).stage("s", lambda: {"pair": (1, 2), "by number": {3: None}})
    assert first == {"pair": [1, 2], "by number": {"3": None}}
    assert FileJournal(tmp_path).stage("s", never) == first


def test_without_a_folder_it_remembers_until_the_end():
    journal = FileJournal(None)
    assert journal.stage("s", lambda: 1) == 1
    assert journal.stage("s", never) == 1


def test_none_and_false_are_values(tmp_path):
    journal = FileJournal(tmp_path)
    for name, value in (("none", None), ("false", False), ("empty", [])):
        journal.stage(name, lambda value=value: value)
        assert FileJournal(tmp_path).stage(name, never) == value


def test_a_stage_that_fails_leaves_nothing(tmp_path):
    journal = FileJournal(tmp_path)
    with pytest.raises(ZeroDivisionError):
        journal.stage("s", lambda: 1 / 0)
    assert not (tmp_path / "journal.jsonl").exists()
    assert journal.stage("s", lambda: 2) == 2


@pytest.mark.parametrize("lost", [1, 2, 5, 20])
def test_a_last_line_cut_short_is_dropped_and_written_anew(tmp_path, lost):
    path = tmp_path / "journal.jsonl"
    journal = FileJournal(tmp_path)
    journal.stage("one", lambda: "Kraków")
    journal.stage("two", lambda: "Łódź")
    path.write_bytes(path.read_bytes()[:-lost])
    resumed = FileJournal(tmp_path)
    assert resumed.stage("one", never) == "Kraków"
    # Of a line that lacks nothing but its end nothing is lost.
    assert resumed.stage("two", never if lost == 1 else lambda: "Łódź") == "Łódź"
    resumed.stage("three", lambda: 3)
    assert [json.loads(line)["stage"] for line in path.read_text().splitlines()] == ["one", "two", "three"]


def test_a_cut_inside_a_letter_is_no_more_than_a_cut(tmp_path):
    path = tmp_path / "journal.jsonl"
    FileJournal(tmp_path).stage("one", lambda: 1)
    path.write_bytes(path.read_bytes() + '{"stage": "two", "seconds": 0, "value": "Krak\u00f3'.encode()[:-1])
    resumed = FileJournal(tmp_path)
    assert resumed.stage("one", never) == 1
    assert resumed.stage("two", lambda: 2) == 2


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0c", "\x1e", "\n", "\r\n"])
def test_separators_in_generated_texts_do_not_cut_lines(tmp_path, separator):
    journal = FileJournal(tmp_path)
    journal.stage("text", lambda: f"one{separator}two")
    journal.stage("after", lambda: 1)
    resumed = FileJournal(tmp_path)
    assert resumed.stage("text", never) == f"one{separator}two"
    assert resumed.stage("after", never) == 1


def test_announcements_and_bars_reach_whoever_watches(capsys):
    journal = FileJournal(None, Watch())
    journal.announce("round 1")
    with journal.bar("rounds", 2) as advance:
        advance(note="loss 0.5")
        advance(1)
    assert capsys.readouterr().err == "round 1\n"  # a bar is for terminals


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"{", r"journal\.jsonl:2: not JSON; the journal is damaged: put an older copy back, remove this line and th"),
        (b"\xff", r"journal\.jsonl:2: not JSON"),
        (b"", r"journal\.jsonl:2: not JSON"),
        (b"[" * 100_000, r"journal\.jsonl:2: not JSON"),
        (b"[]", r"journal\.jsonl:2: not a stage with its value"),
        (b'{"stage": "two", "seconds": 0}', r"journal\.jsonl:2: not a stage with its value"),
        (b'{"stage": ["two"], "seconds": 0, "value": 1}', r":2: stage = .*: a name and a number are needed"),
        (b'{"stage": "two", "seconds": "0", "value": 1}', r":2: stage = 'two', seconds = 0: a name and a number are"),
        (b'{"stage": "two", "seconds": NaN, "value": 1}', r":2: stage = 'two', seconds = nan: "),
        (b'{"stage": "two", "value": 1}', r":2: stage = 'two', seconds = None: "),
    ],
    ids=range(10),
)
def test_damage_in_the_middle_is_named_by_its_line_and_nothing_is_thrown_away(tmp_path, line, complaint):
    path = tmp_path / "journal.jsonl"
    FileJournal(tmp_path).stage("one", lambda: 1)
    content = path.read_bytes() + line + b"\n" + path.read_bytes()
    path.write_bytes(content)
    with pytest.raises(DataError, match=complaint) as caught:
        FileJournal(tmp_path)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content


def test_a_journal_that_is_no_file_is_refused(tmp_path, monkeypatch):
    (tmp_path / "journal.jsonl").mkdir()
    with pytest.raises(DataError, match=r"journal\.jsonl: not a file"):
        FileJournal(tmp_path)


def fill(folder: Path, name: str) -> None:
    journal = FileJournal(folder)
    for number in range(40):
        journal.stage(f"{name} {number}", lambda: ["ü" * 5000] * 20)


def test_two_that_write_at_once_lose_nothing(tmp_path):
    """Runs of one request may share the journal of what came before; lines of 200,000 bytes stay whole."""
    both = [multiprocessing.get_context("spawn").Process(target=fill, args=(tmp_path, name)) for name in "ab"]
    for each in both:
        each.start()
    for each in both:
        each.join()
    lines = (tmp_path / "journal.jsonl").read_text().splitlines()
    assert {json.loads(line)["stage"] for line in lines} == {f"{name} {n}" for name in "ab" for n in range(40)}
    assert {*FileJournal(tmp_path).seconds} == {f"{name} {n}" for name in "ab" for n in range(40)}
