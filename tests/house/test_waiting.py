"""Threads that wait for each other soon sleep, so that a build is not starved by whatever else the machine does."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

POLICY, SPINS = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"


def in_force(setting: str, **variables: str) -> str:
    """What OpenMP says of itself in a process that imports genunlearn, and torch after it."""
    settings = {name: value for name, value in os.environ.items() if name not in (POLICY, SPINS)}
    settings |= {"OMP_DISPLAY_ENV": "verbose", **variables}
    command = [sys.executable, "-c", "import genunlearn, torch"]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=True)
    told = [line for line in done.stderr.splitlines() if setting in line]
    if not told:
        pytest.skip("this build of torch has an OpenMP that does not show its settings")
    return told[0].partition("=")[2].strip(" '\"").upper()


def test_threads_sleep_where_they_wait() -> None:
    assert in_force(POLICY) == "PASSIVE"


def test_threads_wait_a_moment_before_they_sleep() -> None:
    assert in_force(SPINS) == "500"


def test_the_own_choice_of_a_user_stays() -> None:
    assert in_force(POLICY, OMP_WAIT_POLICY="ACTIVE") == "ACTIVE"
    assert int(in_force(SPINS, OMP_WAIT_POLICY="ACTIVE")) > 1_000_000
    assert in_force(SPINS, GOMP_SPINCOUNT="7") == "7"
