"""Several processes on one ``--out``: one works, the others are refused, and nothing is broken or done twice."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

from genunlearn.config.lm import LMConfig
from genunlearn.engine.progress import Watch
from genunlearn.errors import OutputExists
from genunlearn.records import read_record
from genunlearn.runs.folder import RunFolder

ROUNDS = int(os.environ.get("GENUNLEARN_STRESS_ROUNDS", 3))
STAGES = tuple("abcdef")
DONE, REFUSED = 0, 2
FORK = multiprocessing.get_context("fork")


def work(out: Path, resume: bool, trace: Path, start: Callable[[], object]) -> None:
    """One run of six stages, each of which leaves a line in `trace` when it is computed."""
    start()
    try:
        folder = RunFolder(out, LMConfig(), resume=resume, watch=Watch(is_shown=False))
    except OutputExists:
        os._exit(REFUSED)
    with folder.guarded():
        for name in STAGES:
            folder.journal.stage(name, lambda name=name: compute(name, trace))
        folder.record.outcome = "forgotten"
    os._exit(DONE)


def compute(name: str, trace: Path) -> str:
    time.sleep(0.002)
    with trace.open("a") as file:
        file.write(f"{name} {os.getpid()}\n")
    return name


def start(count: int, out: Path, trace: Path, *, resume: bool) -> list[BaseProcess]:
    barrier = FORK.Barrier(count)
    processes = [FORK.Process(target=work, args=(out, resume, trace, barrier.wait)) for _ in range(count)]
    for process in processes:
        process.start()
    return processes


def end(processes: list[BaseProcess]) -> list[int | None]:
    for process in processes:
        process.join(60)
    return sorted((process.exitcode for process in processes), key=str)


def check_whole(out: Path) -> None:
    rows = [json.loads(line) for line in (out / "state" / "journal.jsonl").read_text().splitlines()]
    assert [row["stage"] for row in rows] == list(STAGES), "every stage is written once, in order"
    assert read_record(out).status == "completed"
    assert sorted(path.name for path in out.iterdir()) == ["record.json", "state"]


def test_of_three_parallel_starts_one_works(tmp_path: Path) -> None:
    for number in range(ROUNDS):
        out, trace = tmp_path / f"out-{number}", tmp_path / f"trace-{number}"
        codes = end(start(3, out, trace, resume=False))
        assert codes == [DONE, REFUSED, REFUSED], f"round {number}"
        assert len({line.split()[1] for line in trace.read_text().splitlines()}) == 1, "one process did all the work"
        check_whole(out)


def test_of_two_parallel_resumes_one_works(tmp_path: Path) -> None:
    chance = random.Random(0)
    for number in range(ROUNDS):
        out, trace = tmp_path / f"out-{number}", tmp_path / f"trace-{number}"
        (first,) = start(1, out, trace, resume=False)
        while not trace.exists():
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.01))
        assert first.pid is not None
        os.kill(first.pid, signal.SIGKILL)
        end([first])
        if first.exitcode == DONE:  # it was faster
            continue
        assert end(start(2, out, trace, resume=True)) == [DONE, REFUSED], f"round {number}"
        names = [line.split()[0] for line in trace.read_text().splitlines()]
        assert len(names) - len(set(names)) <= 1, "but for the stage that was cut off, none was computed twice"
        check_whole(out)


def test_a_resume_while_the_first_runs_is_refused(tmp_path: Path) -> None:
    out, trace = tmp_path / "out", tmp_path / "trace"
    (first,) = start(1, out, trace, resume=False)
    while not trace.exists():
        time.sleep(0.001)
    second = end(start(1, out, trace, resume=True))
    assert end([first]) == [DONE]
    assert second == [REFUSED]
    check_whole(out)
