"""Two processes on the CPU (gloo) do what one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engine.one_of_several import main
from tests.worlds import World

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


METHODS = ("grad_ascent", "grad_diff+tokens", "npo", "idk_dpo")
Seen = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def seen(worlds: Callable[[str], World], tmp_path_factory: pytest.TempPathFactory) -> tuple[Seen, Seen]:
    """By method, what one process has seen, and what each of two has: starting them takes longer than training."""
    folder, out = worlds("lm").open().module.name_or_path, tmp_path_factory.mktemp("several")
    main(folder, str(out / "one"), *METHODS)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", "tests.engine.one_of_several", folder, str(out / "two"), *METHODS]
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr

    def read(name: str, processes: int) -> Seen:
        kinds = (*METHODS, "turns")
        places = {kind: [out / f"{name}-{kind}-{rank}.json" for rank in range(processes)] for kind in kinds}
        return {kind: [json.loads(path.read_text()) for path in paths] for kind, paths in places.items()}

    return read("one", 1), read("two", 2)


@pytest.mark.parametrize("method", METHODS)
def test_two_processes_give_the_losses_of_one(seen, method):
    one, two = seen
    (alone,), (first, second) = one[method], two[method]
    assert (alone["processes"], first["processes"]) == (1, 2)
    for entry, expected in zip(first["history"], alone["history"], strict=True):
        assert entry == pytest.approx(expected, abs=1e-5, rel=1e-5)
    assert first["sums"] == pytest.approx(alone["sums"], abs=1e-4)
    # Both processes end with the same weights and know all that either has generated.
    for name in ("history", "greedy", "sampled", "sums"):
        assert first[name] == second[name]
    assert first["greedy"] == alone["greedy"]
    assert first["sampled"] == alone["sampled"]


def test_processes_take_tasks_in_turn_and_know_all_results(seen):
    (alone,), (first, second) = (each["turns"] for each in seen)
    assert alone["done"] == ["a0", "b0", "c0", "d0", "e0"]
    assert first["done"] == second["done"] == ["a0", "b1", "c0", "d1", "e0"]
    within = [["ax0", "ay1", "az2"], ["bx0", "by1", "bz2"]]  # a task is one process's own, with all that it shares
    assert alone["within"] == first["within"] == second["within"] == within
    assert (first["joint"], second["joint"]) == (["a0", "b0"], ["a1", "b1"])
    assert (alone["summed"], second["summed"]) == ({"one": 1, "deep": {"rank": 0}}, {"one": 2, "deep": {"rank": 1}})


def test_an_error_in_one_process_is_raised_in_all(seen):
    (alone,), (first, second) = (each["turns"] for each in seen)
    assert alone["error"] == first["error"] == second["error"] == "task d"
