"""Threads that wait for each other sleep, so that a build is not starved by whatever else the machine does."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

POLICY = "OMP_WAIT_POLICY"


def policy_in_force(**variables: str) -> str:
    """What OpenMP says of itself in a process that imports genunlearn, and torch after it."""
    settings = {name: value for name, value in os.environ.items() if name != POLICY}
    settings |= {"OMP_DISPLAY_ENV": "true", **variables}
    command = [sys.executable, "-c", "import genunlearn, torch"]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=True)
    told = [line for line in done.stderr.splitlines() if POLICY in line]
    if not told:
        pytest.skip("this build of torch has an OpenMP that does not show its settings")
    return told[0].partition("=")[2].strip(" '\"").upper()


def test_threads_sleep_where_they_wait() -> None:
    assert policy_in_force() == "PASSIVE"


def test_the_own_choice_of_a_user_stays() -> None:
    assert policy_in_force(OMP_WAIT_POLICY="ACTIVE") == "ACTIVE"
