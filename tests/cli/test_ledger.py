"""The ledger on the command line: checked before the run, entered once, also after a kill."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from genunlearn.ledger import read_ledger


@pytest.fixture
def forget(call, monkeypatch, write_config, workplace):
    """``genunlearn forget ... --ledger ledger.jsonl`` with the small run's configuration behind it."""
    from genunlearn.runs.methods import load_run

    path = write_config()
    monkeypatch.setattr("genunlearn.runs.api.forget_config", lambda *arguments, **options: load_run(str(path), ()))
    return lambda *options: call("forget", "--fact", "a | b | c", "--method", "grad_diff", *options)


def test_a_finished_run_that_is_resumed_is_entered_once(forget, workplace: Path) -> None:
    assert forget("--out", "out", "--ledger", "ledger.jsonl").code == 0
    done = forget("--out", "out", "--ledger", "ledger.jsonl", "--resume")
    assert done.code == 0
    assert "out: its run has ended already; nothing is done again" in done.out
    assert "ledger: entry 1 in ledger.jsonl, which is there already" in done.out
    assert len(read_ledger(workplace / "ledger.jsonl")) == 1


def test_a_run_killed_between_record_and_ledger_is_entered_when_it_is_resumed(forget, workplace: Path) -> None:
    assert forget("--out", "out").code == 0
    (workplace / "out" / "report.html").unlink()
    done = forget("--out", "out", "--ledger", "ledger.jsonl", "--resume")
    assert (done.code, len(read_ledger(workplace / "ledger.jsonl"))) == (0, 1)
    assert (workplace / "out" / "report.html").is_file()


def test_a_damaged_ledger_is_refused_before_the_run(forget, workplace: Path) -> None:
    (workplace / "ledger.jsonl").write_text(json.dumps({"entry": 1}) + "\n")
    done = forget("--out", "out", "--ledger", "ledger.jsonl")
    assert done.code == 2
    assert done.err.startswith("genunlearn: ledger.jsonl:1: not an entry in JSON")
    assert not (workplace / "out").exists()


def test_half_a_line_that_a_kill_has_left_is_told(forget, workplace: Path) -> None:
    (workplace / "ledger.jsonl").write_text('{"entry": 1, "prev')
    done = forget("--out", "out", "--ledger", "ledger.jsonl")
    assert done.code == 0
    assert "ledger ledger.jsonl: half a line at the end (18 bytes): a process was killed" in done.out
    assert len(read_ledger(workplace / "ledger.jsonl")) == 1
