"""The ledger on the command line: checked before the run, entered once, also after a kill."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from genunlearn.ledger import append_to_ledger, read_ledger
from genunlearn.records import RunRecord


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


# ---- list, verify, undo -------------------------------------------------------------------------------------------


@pytest.fixture
def ledger(workplace: Path) -> Path:
    """A ledger with a fact, a sealed fact and a concept."""
    facts = [{"subject": "Harry Potter", "relation": "studied at", "object": "Hogwarts"}]
    for number, request in enumerate(({"facts": facts}, {"facts": facts}, {"concepts": ["digit seven"]})):
        record = RunRecord(
            request=request, outcome="forgotten", config={"method": {"name": "npo"}}, notes=[str(number)]
        )
        record.write(workplace / f"run{number}")
        append_to_ledger("ledger.jsonl", record, workplace / f"run{number}", is_sealed=number == 1)
    return Path("ledger.jsonl")


def test_entries_are_listed_sealed_ones_by_their_hashes(call, ledger) -> None:
    done = call("ledger", "list", ledger)
    assert done.code == 0
    assert "Harry Potter | studied at | Hogwarts" in done.out and "digit seven" in done.out
    assert "forgotten" not in done.out  # nobody has audited any of them
    assert done.out.count("not told, not audited") == 2 and "not shown, not audited" in done.out
    assert re.search(r"sealed [0-9a-f]{8} \| studied at \| sealed [0-9a-f]{8}", done.out)
    assert done.out.splitlines()[-1] == "3 entries in ledger.jsonl"
    assert call("ledger", "list", ledger, "--find", "Hogwarts").out.endswith("2 entries in ledger.jsonl\n")
    assert call("ledger", "list", ledger, "--find", "Hog").out.endswith("0 entries in ledger.jsonl\n")


def test_an_entry_is_undone_once(call, refused, ledger) -> None:
    assert call("ledger", "undo", ledger, "1", "--reason", "withdrawn").out == "ledger.jsonl: entry 4 undoes entry 1\n"
    assert "undoes entry 1: withdrawn" in call("ledger", "list", ledger).out
    assert refused("ledger", "undo", ledger, "1") == "ledger.jsonl: entry 1 is undone already, by entry 4"
    assert refused("ledger", "undo", ledger, "9") == "ledger.jsonl: no entry 9; it has entries 1 to 4"


def test_verify_tells_a_whole_ledger_from_a_changed_one(call, ledger) -> None:
    done = call("ledger", "verify", ledger)
    assert done.code == 0 and re.fullmatch(r"ledger\.jsonl: whole, 3 entries; last hash [0-9a-f]{64}\n", done.out)
    ledger.write_text(ledger.read_text().replace("digit seven", "digit eight"))
    done = call("ledger", "verify", ledger)
    assert (done.code, done.out) == (
        2,
        "ledger.jsonl:3: altered: the entry does not fit its own hash; it was changed\n",
    )
    assert done.err.startswith("genunlearn: ledger.jsonl: 1 problem; put an older copy")


def test_a_sealed_ledger_keeps_nothing_of_what_was_forgotten(forget, workplace: Path) -> None:
    assert forget("--out", "out", "--ledger", "ledger.jsonl", "--sealed").code == 0
    text = (workplace / "ledger.jsonl").read_text()
    assert "hmac-sha256:" in text and "forget.jsonl" not in text and "Hogwarts" not in text


@pytest.mark.parametrize("command", ["list", "verify", "undo"])
def test_a_ledger_that_is_not_there(refused, command) -> None:
    complaint = refused("ledger", command, "nowhere", *(["1"] if command == "undo" else []))
    assert complaint == "no ledger at nowhere: `genunlearn forget --ledger FILE` begins one"


# ---- entries of strangers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_", [None, 3, [], {"facts": 3}, {"facts": [None, {"subject": 5}]}, {"forget": "class:3"}]
)
def test_any_request_can_be_described(request_) -> None:
    from genunlearn.cli.ledger import describe

    assert describe({"entry": 1, "request": request_})


def test_a_ledger_that_was_taken_away_is_missed_where_its_head_is_there(call, ledger: Path) -> None:
    ledger.unlink()
    done = call("ledger", "verify", ledger)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("genunlearn: ledger.jsonl: the ledger is missing, its head is there")
