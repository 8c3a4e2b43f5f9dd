"""``genunlearn --help`` answers at once: it loads neither torch nor anything that does."""

from __future__ import annotations

import re
import resource
import subprocess
import sys

HEAVY = {"torch", "transformers", "peft", "accelerate", "datasets", "diffusers", "matplotlib", "scipy"}
SECONDS = 1.0


def help_command(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *options, "-m", "genunlearn", "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr.strip().rpartition("\n")[2]
    return done


def user_seconds() -> float:
    """CPU time of one call; the clock on the wall would measure what else the machine does."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    help_command()
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def test_help_loads_nothing_heavy() -> None:
    done = help_command("-X", "importtime")
    modules = re.findall(r"\|\s*([\w.]+)$", done.stderr, flags=re.MULTILINE)
    loaded = {module.partition(".")[0] for module in modules}
    assert {"genunlearn", "typer"} <= loaded, "the import log is not read rightly"
    assert loaded & HEAVY == set()


def test_help_names_the_commands() -> None:
    assert {"forget", "ask", "run", "report", "ls"} <= set(re.findall(r"[a-z]+", help_command().stdout))


def test_help_answers_within_a_second() -> None:
    assert min(user_seconds() for _ in range(3)) < SECONDS
