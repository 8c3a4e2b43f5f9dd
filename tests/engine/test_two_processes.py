"""Two processes on the CPU (gloo) do what one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def train(processes: int, *arguments: str | Path) -> list[dict[str, Any]]:
    """What each process has seen."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    module = ["-m", "tests.engine.one_of_several", *map(str, arguments)]
    command = [sys.executable, *(launcher if processes > 1 else []), *module]
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [json.loads(Path(f"{arguments[-1]}-{rank}.json").read_text()) for rank in range(processes)]


@pytest.mark.parametrize("method", ["grad_ascent", "npo", "idk_dpo"])
def test_two_processes_give_the_losses_of_one(world, tmp_path, method):
    folder = world.open().module.name_or_path
    (alone,) = train(1, folder, method, tmp_path / "one")
    first, second = train(2, folder, method, tmp_path / "two")
    assert (alone["processes"], first["processes"]) == (1, 2)
    for entry, expected in zip(first["history"], alone["history"], strict=True):
        assert entry == pytest.approx(expected, abs=1e-5, rel=1e-5)
    assert first["sums"] == pytest.approx(alone["sums"], abs=1e-4)
    # Both processes end with the same weights and know all that either has generated.
    for name in ("history", "greedy", "sampled", "sums"):
        assert first[name] == second[name]
    assert first["greedy"] == alone["greedy"]
    assert first["sampled"] == alone["sampled"]
