"""Records: written whole or not at all, plain JSON, read back as they were."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat

import numpy as np
import pytest
from safetensors.numpy import save_file

from genunlearn.errors import DataError, SourceNotFound
from genunlearn.records import (
    INTERRUPTED,
    Result,
    RunRecord,
    hash_files,
    hash_json,
    honour_umask,
    now,
    read_record,
    replacing,
    write_json,
    write_jsonl,
    write_text,
)

RECALL = Result(name="recall", target="unlearned", group="forget", value=0.0, low=0.0, high=0.37, n=8)
SKIPPED = Result(name="recall", target="oracle", value=None, skipped="no oracle")


@pytest.fixture
def record() -> RunRecord:
    return RunRecord(
        request={"facts": [{"subject": "Łódź", "object": "☃"}]},
        hashes={"base": "ab", "prompts": {"lab/probe": "cd"}},
        results=[RECALL, SKIPPED],
        cost={"seconds": {"unlearn": 9.84}},
        notes=["one\u2028two"],
    )


def test_a_record_comes_back_as_it_was(record, tmp_path):
    path = record.write(tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "record.json"
    assert read_record(path) == record
    assert read_record(path.parent) == record


def test_the_file_says_its_schema_first_and_how_the_run_stands(record, tmp_path):
    data = json.loads(record.write(tmp_path).read_text(encoding="utf-8"))
    assert next(iter(data.items())) == ("schema", "genunlearn.record/1")
    assert data["status"] == INTERRUPTED == "interrupted"
    assert data["results"][0]["value"] == 0.0
    assert data["results"][1] == {**data["results"][1], "value": None, "skipped": "no oracle", "n": 0}
    assert "Łódź" in (tmp_path / "record.json").read_text(encoding="utf-8")


def test_results_are_found_by_name_target_and_group(record):
    assert record.find("recall", "unlearned", "forget") is RECALL
    assert record.find("recall", "oracle") is SKIPPED
    assert record.find("recall", "unlearned", "rest") is None


def test_times_are_utc_to_the_second():
    assert len(now()) == len("2025-11-21T09:14:03Z")
    assert RunRecord().created.endswith("Z")
    assert RunRecord(created="2025-11-21T09:14:03Z").created == "2025-11-21T09:14:03Z"


# ---- whole or not at all --------------------------------------------------------------------------------------


@pytest.mark.parametrize("interrupted_at", ["write", "replace"])
def test_a_write_that_dies_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, interrupted_at):
    path = tmp_path / "record.json"
    write_text(path, "old")

    def die(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync" if interrupted_at == "write" else "replace", die)
    with pytest.raises(KeyboardInterrupt):
        write_text(path, "new and much longer")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_refused_and_leave_the_old_file(tmp_path, value):
    path = tmp_path / "data.json"
    write_json(path, {"value": 1.0})
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        write_json(path, {"value": [value]})
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        write_jsonl(path, [{"value": 1.0}, {"value": value}])
    assert json.loads(path.read_text()) == {"value": 1.0}


def test_a_record_with_nan_is_not_written(record, tmp_path):
    record.results.append(Result(name="perplexity", target="unlearned", value=math.nan))
    with pytest.raises(ValueError, match="not JSON compliant"):
        record.write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_written_files_can_be_read_by_others(tmp_path):
    write_text(tmp_path / "file", "x")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


def test_json_lines_are_one_object_a_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [{"text": "two\nlines"}, {"text": "Łódź"}])
    assert path.read_text(encoding="utf-8") == '{"text": "two\\nlines"}\n{"text": "Łódź"}\n'


# ---- what cannot be read --------------------------------------------------------------------------------------


def test_a_folder_without_a_record(tmp_path):
    with pytest.raises(SourceNotFound, match=r"no record at .*record\.json: give a folder that a run has written"):
        read_record(tmp_path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b'{"schema": "genunlearn.record/1",\n "status": "comp', r"record\.json:2: not JSON .*; the record is damaged"),
        (b"", r"record\.json:1: not JSON"),
        (b'{"schema": "caf\xe9"}', r"record\.json: not UTF-8 \(byte 15\); the record is damaged"),
        (b"[]", r"not a record of schema genunlearn\.record/1"),
        (
            b'{"schema": "genunlearn.record/1", "results": [{"nome": 1, "name": "a", "target": "b", "value": 1}]}',
            r"results\.0\.nome = 1: Extra inputs are not permitted",
        ),
        (b"{}", r"not a record of schema"),
        (b'{"schema": "genunlearn.record/2"}', r"not a record of schema"),
        (b'{"schema": "genunlearn.record/1", "verdict": 1}', r"unknown record fields \['verdict'\]"),
        (
            b'{"schema": "genunlearn.record/1", "results": [{"nome": 1}]}',
            r"results\.0\.name is missing; the record is dam",
        ),
    ],
)
def test_a_file_that_is_no_record_says_why(tmp_path, content, complaint):
    (tmp_path / "record.json").write_bytes(content)
    with pytest.raises(DataError, match=complaint) as caught:
        read_record(tmp_path)
    assert "\n" not in str(caught.value)


# ---- hashes ---------------------------------------------------------------------------------------------------


def test_the_hash_of_data_is_that_of_its_canonical_form():
    expected = hashlib.sha256('{"a":[1,2],"b":"ł"}'.encode()).hexdigest()
    assert hash_json({"b": "ł", "a": [1, 2]}) == expected == hash_json({"a": (1, 2), "b": "ł"})


def test_the_hash_of_files_is_over_names_and_contents_in_order_of_names(tmp_path):
    for name, content in (("b.bin", b"two"), ("a.bin", b"one")):
        (tmp_path / name).write_bytes(content)
    files = [tmp_path / "b.bin", tmp_path / "a.bin"]
    expected = hashlib.sha256(b"a.bin\0oneb.bin\0two").hexdigest()
    assert hash_files(files) == expected
    assert hash_files(files[::-1]) == expected
    renamed = (tmp_path / "a.bin").rename(tmp_path / "c.bin")
    assert hash_files([tmp_path / "b.bin", renamed]) != expected


def nested(levels: int) -> bytes:
    return b'{"schema": "genunlearn.record/1", "request": {"facts": ' + b"[" * levels + b"]" * levels + b"}}"


def field(name: str, content: str) -> bytes:
    return f'{{"schema": "genunlearn.record/1", "{name}": {content}}}'.encode()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (nested(65), "more than 64 levels; the record is damaged"),
        (nested(100_000), "more than 64 levels; the record is damaged"),
        (field("cost", '{"steps": NaN}'), "NaN is no number"),
        (field("cost", '{"steps": -Infinity}'), "-Infinity is no number"),
        (field("cost", '{"steps": 1e999}'), "a number too large for a float"),
        (field("seeds", f'{{"run": 1{"0" * 400}}}'), "a number too large for a float"),
        (field("seeds", f'{{"run": {"1" * 5000}}}'), "Exceeds the limit"),
        (field("notes", '["\\ud800"]'), "half of a surrogate pair"),
        (field("notes", '{"a": "b"}'), "notes = {'a': 'b'}: Input should be a valid list"),
        (field("results", '{"a": 1}'), "results = .*: Input should be a valid list"),
        (field("results", "[null]"), "results.0 = None: "),
        (field("results", '[{"name": "a", "target": "b", "value": "0.5"}]'), "results.0.value = '0.5': .* number"),
        (field("results", '[{"name": "a", "target": "b", "value": true}]'), "results.0.value = True: .* number"),
        (field("results", '[{"name": "a", "target": "b", "value": 1, "n": -1}]'), "results.0.n = -1: "),
        (field("status", '"done"'), "status = 'done': Input should be 'interrupted', 'completed' or 'failed'"),
        (field("config", "[]"), r"config = \[\]: "),
        (field("config", '{"domain": null}'), "config.domain = None: "),
        (field("config", '{"method": {"name": ["unstar"]}}'), "config.method.name = "),
        (field("request", '{"facts": [{"subject": 3}]}'), "request.facts.0.FactPart = |request.facts.0"),
        (field("rounds", '[{"known": "all"}]'), "rounds.0.known = 'all': "),
        (field("examples", '[{"tells": []}]'), r"examples.0.tells = \[\]: "),
        (field("created", "1"), "created = 1: "),
        (field("hashes", '{"base": {"a": {"b": 1}}}'), "hashes.base"),
    ],
    ids=lambda value: str(value)[-40:] if isinstance(value, str) else "",
)
def test_a_record_with_a_wrong_value_is_refused_in_one_line(tmp_path, content, complaint):
    (tmp_path / "record.json").write_bytes(content)
    with pytest.raises(DataError, match=complaint) as caught:
        read_record(tmp_path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000


def test_a_record_of_an_audit_has_whole_verdicts(tmp_path):
    verdict = {"concept": "a", "verdict": "gone", "reason": "r", "recovered_by": [], "controls": [], "comparisons": []}
    for missing in verdict:
        rest = {key: value for key, value in verdict.items() if key != missing}
        RunRecord(config={"task": "audit"}, verdicts=[rest]).write(tmp_path)
        with pytest.raises(DataError, match=rf"verdicts\.0\.{missing} is missing"):
            read_record(tmp_path)
    RunRecord(config={"task": "audit"}, verdicts=[verdict]).write(tmp_path)
    assert read_record(tmp_path).verdicts == [verdict]


def test_a_place_that_holds_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe: not a regular file; give the file of a record"):
        read_record(tmp_path / "pipe")
    (tmp_path / "run" / "record.json").mkdir(parents=True)
    with pytest.raises(DataError, match=r"record\.json: not a regular file"):
        read_record(tmp_path / "run")
    with pytest.raises(SourceNotFound, match=r"no record at 'xxx.*: File name too long"):
        read_record("x" * 5000)
    with pytest.raises(DataError, match="null byte"):
        read_record("a\0b")
    with pytest.raises(SourceNotFound, match="no record at"):
        read_record(tmp_path / "pipe" / "record.json")


def test_a_huge_file_is_refused_unread(tmp_path):
    with (tmp_path / "record.json").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(DataError, match="larger than 64 MiB; this is no record"):
        read_record(tmp_path)


# ---- the umask --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_every_way_of_writing_honours_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_text(tmp_path / "text", "x")
        write_json(tmp_path / "json", {})
        write_jsonl(tmp_path / "lines", [])
        with replacing(tmp_path / "weights.safetensors") as temporary:
            save_file({"a": np.zeros(2)}, temporary)
        save_file({"a": np.zeros(2)}, tmp_path / "library.safetensors")
        honour_umask(tmp_path)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 5 and set(modes.values()) == {0o666 & ~umask}


def test_private_files_of_others_stay_private(tmp_path):
    (tmp_path / "key").touch(0o600)
    honour_umask(tmp_path)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_a_body_that_raises_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "file").write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "file") as temporary:
        temporary.write_text("new")
        raise ZeroDivisionError
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
