"""A disk that is full, files that cannot be read or written: one line, and a run that can go on."""

from __future__ import annotations

import errno
import io
import os
import sys
from pathlib import Path

import pytest
from safetensors import SafetensorError

from genunlearn.errors import InputError
from genunlearn.records import RunRecord, check_writable, files, read_record


def failing(number: int, at: str):
    """A stand-in that fails as the system does, for places whose name holds `at`."""

    def fail(path, *arguments: object, **options: object):
        if at in str(path):
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *arguments, **options)

    real = files._create
    return fail


def test_a_full_disk_is_one_line_and_the_run_goes_on_once_there_is_room(call, write_config, workplace, monkeypatch):
    path = write_config()
    with monkeypatch.context() as full:
        full.setattr(files, "_create", failing(errno.ENOSPC, "genunlearn.json"))
        done = call("run", path, "--out", "out")
    assert (done.code, done.err.splitlines()[-1].count("No space left on device")) == (1, 1)
    assert done.err.splitlines()[-1].endswith(": make room; a run goes on with --resume")
    assert "Traceback" not in done.err and read_record(workplace / "out").status == "interrupted"
    assert call("run", path, "--out", "out", "--resume").code == 0
    assert read_record(workplace / "out").status == "completed"


def test_a_full_disk_in_the_words_of_safetensors(call, monkeypatch, workplace):
    def fail(*arguments: object, **options: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("genunlearn.cli.commands.lab_build", fail)
    done = call("lab", "build", "lm")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "No space left on device (os error 28): make room" in done.err


@pytest.mark.parametrize("command", ["report", "compare"])
def test_a_report_that_cannot_be_written(call, workplace, monkeypatch, command):
    RunRecord(config={"domain": "lm"}, status="completed").write(workplace / "run")
    monkeypatch.setattr(files, "_create", failing(errno.EACCES, ".html"))
    done = call(command, "run")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "Permission denied; take another place, or make this one accessible" in done.err


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_configuration_that_cannot_be_read(call, write_config, monkeypatch, command):
    path = write_config()
    read = Path.read_text

    def fail(self: Path, *arguments: object, **options: object) -> str:
        if self.name == path.name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        return read(self, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", fail)
    done = call(command, path)
    assert (done.code, done.err) == (
        2,
        f"genunlearn: configuration {str(path)!r} cannot be read (Permission denied); give another\n",
    )


def test_names_of_thousands_of_characters_are_cut_in_the_middle(call, workplace):
    name = "x" * 5000
    for arguments in (["check", name], ["report", name], ["patch", "detach", name], ["ledger", "list", name]):
        done = call(*arguments)
        assert done.code == 2 and len(done.err) < 2000 and done.err.count("\n") == 1
        assert "Traceback" not in done.err


@pytest.mark.parametrize("place", ["file/x.jsonl", "x" * 300])
def test_a_place_where_no_file_can_be_made_is_refused_before_the_work(workplace, place):
    (workplace / "file").touch()
    with pytest.raises(InputError, match=r"^--ledger .* cannot be written"):
        check_writable(Path(place), "--ledger")
    check_writable(workplace / "new" / "x.jsonl", "--ledger")
    assert not (workplace / "new").exists()


def test_a_pipe_in_place_of_a_file_is_no_reason_to_wait(refused, workplace, tmp_path):
    os.mkfifo(tmp_path / "pipe.jsonl")
    pipe = tmp_path / "pipe.jsonl"
    fact = ("--fact", "Harry Potter | studied at | Hogwarts")
    for arguments in (
        ["forget", "--facts", pipe],
        ["forget", *fact, "--neutral", pipe],
        ["forget", *fact, "--ledger", pipe],
        ["check", "lm/lab/npo", "--set", f"model.source={pipe}"],
        ["check", pipe],
        ["report", pipe],
        ["ledger", "verify", pipe],
        ["ask", "Who?", "--patch", pipe],
        ["patch", "detach", pipe],
    ):
        assert str(pipe) in refused(*arguments)


@pytest.mark.parametrize(
    "arguments", [["ls", "methods"], ["show", "unstar"], ["ledger", "list", "ledger.jsonl"], ["report", "run"]]
)
def test_tables_on_a_terminal_that_knows_ascii_alone(call, workplace, monkeypatch, arguments):
    from genunlearn.ledger import append_to_ledger

    record = RunRecord(request={"concepts": ["déjà vu"]}, config={"domain": "lm"})
    record.write(workplace / "run")
    append_to_ledger("ledger.jsonl", record, "run")
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    done = call(*arguments)
    sys.stdout.flush()
    assert done.code == 0 and raw.getvalue()
