"""A run that is killed when it has saved so many times, and goes on: nothing is lost and nothing is there twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from genunlearn.engine.checkpoints import Checkpoints
from genunlearn.engine.journal import FileJournal
from genunlearn.records import RunRecord, read_record
from genunlearn.registry import RUNS


def killed_and_resumed(config: Any, out: Path, *, saves: int) -> RunRecord:
    """Carry a run out, interrupt it after so many checkpoints and stages of its journal, and resume it."""
    run, done = RUNS.get(config.task, config.family), []
    checkpoint, stage = Checkpoints.save, FileJournal.stage

    def count() -> None:
        done.append(None)
        if len(done) == saves:
            raise KeyboardInterrupt

    def save(self: Checkpoints, *arguments: Any, **options: Any) -> None:
        checkpoint(self, *arguments, **options)
        count()

    def keep(self: FileJournal, *arguments: Any) -> Any:
        kept = stage(self, *arguments)
        count()
        return kept

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Checkpoints, "save", save)
        patch.setattr(FileJournal, "stage", keep)
        run(config, out)()
    assert read_record(out).status == "interrupted"
    return run(config, out, resume=True)()


def assert_same(resumed: RunRecord, straight: RunRecord) -> None:
    """Same numbers and weights, each once."""
    assert resumed.results == straight.results
    assert {key: value for key, value in resumed.hashes.items() if key != "config"} == {
        key: value for key, value in straight.hashes.items() if key != "config"
    }
    assert (resumed.outcome, resumed.rounds, resumed.examples) == (
        straight.outcome,
        straight.rounds,
        straight.examples,
    )
    keys = [(one.name, one.target, one.group) for one in resumed.results]
    assert len(keys) == len(set(keys))
