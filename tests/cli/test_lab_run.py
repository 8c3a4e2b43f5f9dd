"""UnSTAR on the lab's language model, which writes all its own material, killed while it writes and while it trains."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from genunlearn import run
from genunlearn.records import read_record

ROOT = Path(__file__).parents[2]
QUICK = ("evaluate.suite=facts-quick", "evaluate.samples=0", "evaluate.oracle=never")

pytestmark = pytest.mark.slow


def start(folder: Path) -> subprocess.Popen[str]:
    overrides = [part for override in QUICK for part in ("--set", override)]
    command = [sys.executable, "-m", "genunlearn", "run", "lm/lab/unstar", *overrides, "--out", "out"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing has interrupted."""
    folder = tmp_path_factory.mktemp("straight")
    run("lm/lab/unstar", overrides=QUICK, out=folder)
    return folder


def test_the_fact_goes_and_what_surrounds_it_stays(straight):
    record = read_record(straight)
    assert record.outcome == "forgotten"
    after = {group: record.find("recall", "unlearned", group).value for group in ("forget", "forget_heldout", "rest")}
    assert after["forget"] == 0.0
    assert after["forget_heldout"] <= 0.25
    assert after["rest"] >= 0.95
    assert record.find("recall", "unlearned", "same_subject").value >= 0.9


@pytest.mark.parametrize("stages", [4, 8])
def test_a_killed_run_resumes_to_the_same_patch(straight, tmp_path, stages):
    process = start(tmp_path)
    journal, deadline = tmp_path / "out" / "state" / "journal.jsonl", time.monotonic() + 600
    while not journal.is_file() or journal.read_bytes().count(b"\n") < stages:
        assert time.monotonic() < deadline
        assert process.poll() is None, "the run was over before it could be killed"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    run("lm/lab/unstar", overrides=QUICK, out=tmp_path / "out", resume=True)
    for name in ("patch/adapter_model.safetensors", "antisamples.jsonl"):
        assert (tmp_path / "out" / name).read_bytes() == (straight / name).read_bytes()
    assert read_record(tmp_path / "out").rounds == read_record(straight).rounds
