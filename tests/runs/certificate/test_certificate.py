"""Certificates: what they say, what a check finds of hostile ones, and what a kill leaves."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genunlearn.errors import DataError, InputError, MismatchError
from genunlearn.ledger import append_to_ledger, undo_entry
from genunlearn.records import COMPLETED, Result, RunRecord, hash_files
from genunlearn.records.certificate import (
    CERTIFICATE_NAME,
    PAGE_NAME,
    hash_of_certificate,
    read_certificate,
)
from genunlearn.reports.certificate import render_certificate
from genunlearn.runs.certificate.check import Sources, check
from genunlearn.runs.certificate.issue import issue, write_certificate

ADAPTER = ("adapter_model.safetensors", "adapter_config.json")
FACT = {"id": "x", "subject": "<script>Ada</script>", "relation": "lives in", "object": "Paris", "heldout": ["Where?"]}
LABEL = "<script>Ada</script> | lives in | Paris"
KILLS = int(os.environ.get("GENUNLEARN_STRESS_KILLS", 3))
FORK = multiprocessing.get_context("fork")


def share(name: str, target: str, value: float, low: float, high: float, group: str) -> Result:
    goes = "forget" in group
    return Result(
        name=name, target=target, value=value, low=low, high=high, n=40, group=group, higher_is_better=not goes
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run with a patch, an audit below it, and a ledger beside it."""
    folder = tmp_path / "run"
    (folder / "patch").mkdir(parents=True)
    for name in ADAPTER:
        (folder / "patch" / name).write_text(name)
    patch = hash_files([folder / "patch" / name for name in ADAPTER])
    results = [
        share("recall", "original", 1.0, 0.9, 1.0, "same_subject"),
        share("recall", "unlearned", 0.0, 0.0, 0.04, "forget"),
        share("recall", "unlearned", 0.0, 0.0, 0.09, "forget_heldout"),
        share("recall", "unlearned", 0.6, 0.4, 0.8, "same_subject"),
    ]
    record = RunRecord(
        status=COMPLETED,
        outcome="forgotten: Paris",
        finished="2026-01-02T03:04:05Z",
        request={"model": "lab:lm", "facts": [FACT], "questions": 4},
        config={"task": "unlearn", "domain": "lm", "model": {"source": "lab:lm"}, "method": {"name": "npo"}},
        hashes={"config": "a" * 64, "base": "b" * 64, "patch": patch, "request": "c" * 64},
        results=results,
    )
    record.write(folder)
    append_to_ledger(tmp_path / "ledger.jsonl", record, folder, is_sealed=True)
    shares = {"unlearned": {"shown": 9, "n": 32}, "oracle": {"shown": 0, "n": 32}}
    RunRecord(
        status=COMPLETED,
        request={"unlearned": "/nowhere", "concepts": [LABEL]},
        config={"task": "audit", "domain": "lm", "evaluate": {"suite": "facts-quick", "tolerance": 0.2}},
        hashes={"original": "b" * 64, "patch": patch},
        rounds=[{"concept": LABEL, "attack": "sampling", "budget": "16 sampled answers a question"}],
        verdicts=[
            {
                "concept": LABEL,
                "verdict": "concealed",
                "reason": "sampling: 9 of 32 answers show PARIS",
                "recovered_by": ["sampling, temperature 1"],
                "controls": ["oracle"],
                "comparisons": [{"attack": "sampling", "strength": "temperature 1", "shares": shares}],
            }
        ],
    ).write(folder / "audit")
    return folder


@pytest.fixture
def found(tmp_path: Path, run: Path) -> Callable[..., dict[str, bool | None]]:
    """What a check finds, by the word before the colon."""

    def found(source: Path, **places: Any) -> dict[str, bool | None]:
        given = {"run": run, "ledger": tmp_path / "ledger.jsonl"} | places
        return {one.text.partition(":")[0]: one.holds for one in check(source, Sources(**given))}

    return found


def test_a_certificate_says_what_the_records_say_and_holds(run, tmp_path, found) -> None:
    certificate = issue(run, audit=run / "audit", ledger=tmp_path / "ledger.jsonl")
    # Held to at most 0.05: all of [0, 0.04] is below, [0, 0.09] is not. To at least 1.00 - 0.25: 0.6 is below.
    assert [row["status"] for row in certificate["criteria"]] == ["passed", "undecided", "failed"]
    assert [(s["label"], s["verdict"]) for s in certificate["subjects"]] == [(LABEL, "concealed")]
    assert certificate["subjects"][0]["attacks"][0]["recovered"] is True
    assert certificate["subjects"][0]["attacks"][0]["budget"] == "16 sampled answers a question"
    assert (certificate["verdict"], certificate["ledger"]["entry"]) == ("Concealed", 1)
    out = write_certificate(certificate, tmp_path / "out")
    assert read_certificate(out) == certificate
    page = (out / PAGE_NAME).read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;Ada" in page
    assert "16 sampled answers a question" in page and "the gap to the control is at most 0.2" in page
    assert found(out) == {
        **dict.fromkeys(("certificate", "page", "record", "audit", "contents", "date", "patch", "ledger"), True),
        "base": None,
    }


def test_every_strength_that_brings_it_back_counts_as_a_recovery(run) -> None:
    """The weakest is named in the verdict; a stronger one brings back more. Decoys are no control of relearning."""
    path = run / "audit" / "record.json"
    record = json.loads(path.read_text())
    (row,) = record["verdicts"]
    shares = {"unlearned": {"shown": 21, "n": 32}, "decoys": {"shown": 0, "n": 32}}
    row["comparisons"] += [
        {"attack": "sampling", "strength": "temperature 2", "shares": shares},
        {"attack": "relearning", "strength": "phrasings, 1 step", "carries_in": True, "shares": shares},
    ]
    row["recovered_at"] = ["sampling, temperature 1", "sampling, temperature 2"]
    path.write_text(json.dumps(record))
    certificate = issue(run, audit=run / "audit")
    found = [(a["recovered"], a["control"], a["control_shown"]) for a in certificate["subjects"][0]["attacks"]]
    assert found == [(True, "oracle", 0), (True, "decoys", 0), (False, None, None)]
    page = render_certificate(certificate).replace("\N{NO-BREAK SPACE}", " ")
    assert page.count("9 of 32") == 2 and page.count("21 of 32") == 2  # the first in the reason too
    assert [page.count(what) for what in ("> recovered<", "> not compared<", "> not recovered<")] == [2, 1, 0]


def test_without_an_audit_it_says_so(run) -> None:
    certificate = issue(run)
    assert certificate["subjects"] == [
        {"label": LABEL, "verdict": "not audited", "reason": "no attack was tried on it", "attacks": []}
    ]
    assert any("Nobody has tried to bring back" in limit for limit in certificate["limits"])
    assert certificate["ledger"] is None


def test_a_sealed_certificate_names_nothing_and_can_be_checked_with_the_key(run, tmp_path, found) -> None:
    certificate = issue(run, audit=run / "audit", ledger=tmp_path / "ledger.jsonl", is_sealed=True)
    out = write_certificate(certificate, tmp_path / "out")
    for name in (CERTIFICATE_NAME, PAGE_NAME):
        text = (out / name).read_text()
        assert not [word for word in ("Ada", "Paris", "PARIS", "c" * 64) if word in text]
        assert "lives in" in text
        assert "b" * 64 in text
    assert found(out)["contents"] is True
    (tmp_path / "ledger.jsonl.key").rename(tmp_path / "key")
    assert found(out)["contents"] is None
    with pytest.raises(InputError, match="--ledger"):
        issue(run, is_sealed=True)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda c: c["subjects"][0].update(verdict="gone"), "contents"),
        (lambda c: c["criteria"][1].update(status="passed"), "contents"),
        (lambda c: c["run"].update(record_sha256="0" * 64), "record"),
        (lambda c: c["hashes"].update(patch="0" * 64), "patch"),
        (lambda c: c["ledger"].update(entry=2, entries=2), "ledger"),
        (lambda c: c["ledger"].update(last="0" * 64), "ledger"),
        (lambda c: c.update(limits=[]), "contents"),
        (lambda c: c["limits"].pop(0), "contents"),
        (lambda c: c.update(ledger=None), "contents"),  # it would have to say that it stands in none
        (lambda c: c.update(issued="2026-01-02T03:04:04Z"), "date"),
    ],
)
def test_an_altered_certificate_is_found_out_even_with_a_new_hash(run, tmp_path, found, change, wrong) -> None:
    out = write_certificate(issue(run, audit=run / "audit", ledger=tmp_path / "ledger.jsonl"), tmp_path / "out")
    certificate = read_certificate(out)
    change(certificate)
    (out / CERTIFICATE_NAME).write_text(json.dumps(certificate))
    assert found(out)["certificate"] is False
    certificate["sha256"] = hash_of_certificate(certificate)
    (out / CERTIFICATE_NAME).write_text(json.dumps(certificate))
    (out / PAGE_NAME).write_text(render_certificate(certificate))
    seen = found(out)
    assert (seen["certificate"], seen["page"]) == (True, True)
    assert seen[wrong] is False


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (lambda text: text[: len(text) // 2], "not JSON"),
        (lambda text: text.replace("certificate/1", "certificate/9"), "not a certificate of schema"),
        (lambda text: text.replace('"tone"', '"path": "/etc/passwd", "tone"'), "path = '/etc/passwd'"),
        (lambda text: text.replace('"n": 40', '"n": -1'), "greater than or equal to 0"),
        (lambda text: text.replace('"value": 0.6', '"value": NaN'), "NaN is no number"),
        (lambda _: "[" * 100_000, "levels|not JSON"),
        (lambda _: "[]", "not a certificate of schema"),
    ],
)
def test_what_is_no_certificate_is_refused_in_one_line(run, tmp_path, content, complaint) -> None:
    path = write_certificate(issue(run), tmp_path / "out") / CERTIFICATE_NAME
    path.write_text(content(path.read_text()))
    with pytest.raises(DataError, match=complaint):
        list(check(path, Sources()))


def test_what_has_changed_since_is_found_out(run, tmp_path, found) -> None:
    ledger = tmp_path / "ledger.jsonl"
    out = write_certificate(issue(run, audit=run / "audit", ledger=ledger), tmp_path / "out")
    (out / PAGE_NAME).write_text((out / PAGE_NAME).read_text().replace("concealed", "gone"))
    (run / "patch" / ADAPTER[0]).write_text("other weights")
    undo_entry(ledger, 1)
    seen = found(out)
    assert [name for name, holds in seen.items() if holds is False] == ["page", "patch", "ledger"]
    with pytest.raises(MismatchError, match="no weights with the hash"):
        issue(run)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"hashes": {"original": "b" * 64, "patch": "d" * 64}}, "its patch is dddddddddddd"),
        ({"hashes": {"original": "d" * 64}}, "its original is dddddddddddd"),
        ({"hashes": {}}, "an audit of /nowhere, not of this run"),
        ({"status": "interrupted"}, "interrupted"),
        ({"config": {"task": "unlearn"}}, "give that of an audit"),
        ({"config": {"task": "audit", "domain": "diffusion"}}, "of the family diffusion"),
    ],
)
def test_the_audit_of_something_else_is_refused(run, change, complaint) -> None:
    path = run / "audit" / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=complaint):
        issue(run, audit=run / "audit")


@pytest.mark.parametrize(
    "config",
    [
        {"request": {"retain": "/etc/passwd"}},
        {"request": {"path": "../elsewhere"}},
        {"evaluate": {"oracle": "owner/name"}},
        {"evaluate": {"judge": "embedding:/elsewhere"}},
        {"oracle": {"base": "/elsewhere"}},
    ],
)
def test_measuring_again_opens_no_place_that_a_record_names(run, tmp_path, config) -> None:
    path = run / "record.json"
    record = json.loads(path.read_text())
    record["config"] |= config
    path.write_text(json.dumps(record))
    out = write_certificate(issue(run), tmp_path / "out")
    with pytest.raises(InputError, match="places in records are not opened: name it yourself"):
        list(check(out, Sources(run=run, model="lab:lm"), is_rerun=True))


# ---- kills ----------------------------------------------------------------------------------------------------------


def write_many(run: Path, folder: Path, first: int) -> None:
    certificate = issue(run, audit=run / "audit")
    for number in range(first, first + 100_000):
        write_certificate(certificate, folder / str(number))


def test_a_writer_killed_at_any_point_leaves_whole_certificates(run, tmp_path) -> None:
    folder, chance = tmp_path / "many", random.Random(0)
    for kill in range(KILLS):
        writer = FORK.Process(target=write_many, args=(run, folder, 1_000_000 * kill))
        writer.start()
        while not (folder / str(1_000_000 * kill)).is_dir():
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.05))
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        for out in folder.iterdir():
            if not out.name.startswith("."):
                seen = [one.holds for one in check(out, Sources())]
                assert seen[:2] == [True, True], f"kill {kill}: {out}"
        # What the kill has left of a certificate does not stand in the way of the same one.
        last = max(int(out.name) for out in folder.iterdir() if not out.name.startswith("."))
        write_certificate(issue(run, audit=run / "audit"), folder / str(last + 1))
