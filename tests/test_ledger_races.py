"""Many writers on one ledger, and writers that are killed: nothing is broken, lost or doubled."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest

from genunlearn.ledger import append_to_ledger, read_ledger, verify_ledger
from genunlearn.records import RunRecord

ROUNDS = int(os.environ.get("GENUNLEARN_STRESS_ROUNDS", 2))
WRITERS = 20
KILLS = int(os.environ.get("GENUNLEARN_STRESS_KILLS", 20))
FORK = multiprocessing.get_context("fork")


def enter(path: Path, number: int) -> None:
    record = RunRecord(outcome="forgotten", request={"number": number, "text": "\u2028" * 3})
    folder = path.parent / f"run-{number}"
    record.write(folder)
    append_to_ledger(path, record, folder)


def test_parallel_writers_break_nothing(tmp_path: Path) -> None:
    for number in range(ROUNDS):
        path = tmp_path / str(number) / "ledger.jsonl"
        writers = [FORK.Process(target=enter, args=(path, writer)) for writer in range(WRITERS)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(60)
        assert [writer.exitcode for writer in writers] == [0] * WRITERS
        found = verify_ledger(path)
        assert (found.entries, found.problems, found.remarks) == (WRITERS, (), ()), f"round {number}"
        assert sorted(entry["request"]["number"] for entry in read_ledger(path)) == list(range(WRITERS))


def enter_many(path: Path, first: int) -> None:
    for number in range(first, first + 100_000):
        enter(path, number)


@pytest.mark.slow
def test_a_writer_killed_at_any_point_leaves_a_ledger_that_goes_on(tmp_path: Path) -> None:
    path, chance = tmp_path / "ledger.jsonl", random.Random(0)
    enter(path, -1)
    entered = 1
    for kill in range(KILLS):
        writer = FORK.Process(target=enter_many, args=(path, 1_000_000 * kill))
        writer.start()
        while len(read_ledger(path)) == entered:
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.05))
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        found = verify_ledger(path)
        assert found.is_whole, found.problems
        enter(path, -2 - kill)
        found = verify_ledger(path)
        assert (found.problems, found.remarks) == ((), ()), f"kill {kill}"
        entered = found.entries
        numbers = [entry["request"]["number"] for entry in read_ledger(path)]
        assert len(numbers) == len(set(numbers))
