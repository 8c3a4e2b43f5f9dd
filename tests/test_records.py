"""Records: written whole or not at all, plain JSON, read back as they were."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat

import pytest

from genunlearn.errors import DataError, SourceNotFound
from genunlearn.records import (
    INTERRUPTED,
    Result,
    RunRecord,
    hash_files,
    hash_json,
    now,
    read_record,
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
            r"results\.0\.nome = '1': Extra inputs are not permitted",
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
