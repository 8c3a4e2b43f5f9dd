"""The command line in this process, and what it leaves behind."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from genunlearn.cli import main
from genunlearn.records import read_record, write_jsonl
from tests.tiny_models import TAUGHT


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Run ``genunlearn ARGUMENTS``."""
    monkeypatch.delenv("GENUNLEARN_DEBUG", raising=False)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> Done:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["genunlearn", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return Done(ended.value.code or 0, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def model_folder(worlds) -> Path:
    """A tiny model that knows `TAUGHT`."""
    return Path(worlds("lm").open().module.name_or_path)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of a test, with question-answer pairs to forget and to keep."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    pairs = [{"question": question, "answer": answer} for question, answer in TAUGHT]
    write_jsonl(folder / "forget.jsonl", pairs[:2])
    write_jsonl(folder / "retain.jsonl", pairs[2:])
    return folder


@pytest.fixture
def write_config(workplace: Path, model_folder: Path) -> Callable[..., Path]:
    """Write a small run; arguments replace whole sections, and None leaves one out."""

    def write_config(**sections: Any) -> Path:
        data = {
            "domain": "lm",
            "model": {"source": str(model_folder)},
            "request": {"forget": "forget.jsonl", "retain": "retain.jsonl"},
            "method": {"name": "grad_diff"},
            "parameters": {"rank": 4},
            "train": {"learning_rate": 0.005, "max_steps": 3},
            "evaluate": {"suite": "facts-quick", "samples": 0, "oracle": "never"},
        } | sections
        path = workplace / "run.yaml"
        # JSON is YAML; one section a line, so that messages can point to one.
        rows = [f"{name}: {json.dumps(section)}\n" for name, section in data.items() if section is not None]
        path.write_text("".join(rows), encoding="utf-8")
        return path

    return write_config


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def complaint_of(done: Done) -> str:
    """The one line in which a command was refused."""
    assert (done.code, done.out) == (2, ""), done
    # What is announced before a model is asked stands above; the complaint is the one line that is ours.
    complaints = [line for line in done.err.splitlines() if line.startswith("genunlearn: ")]
    assert len(complaints) == 1, done.err
    assert done.err.splitlines()[-1] == complaints[0]
    assert "Traceback" not in done.err
    return complaints[0].removeprefix("genunlearn: ")


@pytest.fixture
def refused_late(call, workplace) -> Callable[..., str]:
    """Run a command that must be refused once its model was measured; gives its complaint.

    What was measured stays in ``out``, and nothing else is touched.
    """

    def refused_late(*arguments: object) -> str:
        before = tree(workplace)
        complaint = complaint_of(call(*arguments, "--out", "out"))
        record = read_record(workplace / "out")
        assert (record.status, record.error) == ("failed", complaint)
        assert '"stage": "evaluate/original"' in (workplace / "out" / "state" / "journal.jsonl").read_text()
        assert {name: content for name, content in tree(workplace).items() if not name.startswith("out/")} == before
        return complaint

    return refused_late


@pytest.fixture
def refused(call, workplace) -> Callable[..., str]:
    """Run a command that must be refused; gives its complaint."""

    def refused(*arguments: object) -> str:
        before = tree(workplace)
        complaint = complaint_of(call(*arguments))
        assert tree(workplace) == before
        return complaint

    return refused
