#!/usr/bin/env python
"""An audit that is killed at random points and taken up again: its numbers are those of one that nobody killed.

    python scripts/bench/kills.py --unlearned runs/carmen --fact carmen.created-by --kills 20

Certificates and ledgers are killed by the tests: GENUNLEARN_STRESS_KILLS=20 pytest tests/runs/certificate, and
tests/test_ledger_races.py.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SETTINGS = (
    "evaluate.phrasings=8",
    "evaluate.decoys=1",
    "attacks={sampling: {samples: 4, temperatures: [1.0]}, prefix_forcing: {}, completion: {}, multiple_choice: {}}",
)
"""A small audit: what is looked at is whether it is the same one."""


def main() -> None:
    """Carry out both audits, compare them, and say how often the second was killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unlearned", required=True, help="folder of the run to audit")
    parser.add_argument("--fact", required=True, help="what it was to forget")
    parser.add_argument("--kills", type=int, default=20, help="how often the second audit is killed")
    parser.add_argument("--seed", type=int, default=0, help="of the points in time")
    parser.add_argument("--out", type=Path, default=Path("runs/kills"), help="new folder for both audits")
    arguments = parser.parse_args()
    chance, out = random.Random(arguments.seed), arguments.out
    begun = time.monotonic()
    if process(arguments, out / "whole").wait() != 0:
        raise SystemExit("the audit that nobody killed has failed")
    whole, killed = time.monotonic() - begun, 0
    while killed < arguments.kills:
        running = process(arguments, out / "killed")
        try:
            if running.wait(chance.uniform(0, whole)) == 0:
                break  # it has come to its end in between
            raise SystemExit("the audit could not be taken up again")
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGKILL)
            running.wait()
            killed += 1
    if process(arguments, out / "killed").wait() != 0:
        raise SystemExit("the audit could not be taken up again")
    one, two = numbers(out / "whole"), numbers(out / "killed")
    if one != two:
        raise SystemExit(f"after {killed} kills the numbers are others")
    print(f"killed {killed} times within {whole:.0f} s each: the same {len(one['results'])} numbers and verdicts")


def process(arguments: argparse.Namespace, out: Path) -> subprocess.Popen[bytes]:
    """The audit in a process of its own; one that has ended already is not done again."""
    given = ["--unlearned", arguments.unlearned, "--fact", arguments.fact, "--oracle", "never", "--out", str(out)]
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    command = [sys.executable, "-m", "genunlearn", "audit", *given, "--resume", *settings]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def numbers(folder: Path) -> dict[str, Any]:
    """What an audit has found."""
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    return {key: record[key] for key in ("results", "verdicts", "outcome")}


if __name__ == "__main__":
    main()
