#!/usr/bin/env python
"""Ledgers, certificates and audits that are killed at random points: nothing is broken, and the numbers are the same.

    python scripts/bench/kills.py                                    # 20 kills each
    python scripts/bench/kills.py --kills 100 --out /tmp/kills

Writers of ledgers and certificates are killed by their tests, where every ledger and certificate left behind is
checked. The audit is one of a fact of lab:lm, killed and taken up again until there are as many kills as were asked
for; as often as it comes to its end its numbers are held to those of an audit that nobody killed, and it begins anew.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from genunlearn.runs.api import forget_config, run

ROOT = Path(__file__).parents[2]
WRITERS = {
    "ledger": "tests/test_ledger_races.py::test_a_writer_killed_at_any_point_leaves_a_ledger_that_goes_on",
    "certificate": "tests/runs/certificate/test_certificate.py"
    "::test_a_writer_killed_at_any_point_leaves_whole_certificates",
}
QUIET = ("evaluate.oracle=never", "evaluate.suite=facts-quick", "evaluate.samples=0")
SETTINGS = (
    "evaluate.phrasings=8",
    "evaluate.decoys=1",
    "attacks={sampling: {samples: 4, temperatures: [1.0]}, prefix_forcing: {}, completion: {}, multiple_choice: {}}",
)
"""A small audit: what is looked at is whether it is the same one."""


def main() -> None:
    """Kill all three, and say how often; the first thing that does not hold ends it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="how often each is killed")
    parser.add_argument("--fact", default="carmen.created-by", help="what is unlearned and audited")
    parser.add_argument("--seed", type=int, default=0, help="of the points in time at which the audit is killed")
    parser.add_argument("--out", type=Path, default=Path("runs/kills"), help="new folder for the run and its audits")
    arguments = parser.parse_args()
    for what, test in WRITERS.items():
        writers_killed(test, arguments.kills)
        print(f"{what}: killed {arguments.kills} times, and whole each time", flush=True)
    print(audits_killed(arguments))


def writers_killed(test: str, kills: int) -> None:
    """Run the test that kills a writer."""
    environment = os.environ | {"GENUNLEARN_STRESS_KILLS": str(kills)}
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", str(ROOT / test)]
    if subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL).returncode:
        raise SystemExit(f"{test} failed after kills; run it by itself")


def audits_killed(arguments: argparse.Namespace) -> str:
    """Kill audits and take them up again; says in words how often."""
    chance, out = random.Random(arguments.seed), arguments.out
    config = forget_config("lab:lm", {"facts": (arguments.fact,)}, method="grad_diff", overrides=QUIET)
    run(config, out=out / "run")
    begun = time.monotonic()
    if process(arguments, "whole").wait() != 0:
        raise SystemExit("the audit that nobody killed has failed")
    whole, killed, ended = time.monotonic() - begun, 0, 0
    expected = numbers(out / "whole")
    while killed < arguments.kills or (out / "killed").exists():
        running = process(arguments, "killed")
        try:
            status = running.wait(chance.uniform(0, whole) if killed < arguments.kills else None)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
            killed += 1
            continue
        if status != 0:
            raise SystemExit(f"after {killed} kills the audit could not be taken up again")
        if numbers(out / "killed") != expected:
            raise SystemExit(f"after {killed} kills the numbers are others")
        shutil.rmtree(out / "killed")
        ended += 1
    found = f"{len(expected['results'])} numbers and {len(expected['verdicts'])} verdict"
    return f"audit: killed {killed} times within {whole:.0f} s each, came to its end {ended} times: the same {found}"


def process(arguments: argparse.Namespace, name: str) -> subprocess.Popen[bytes]:
    """The audit in a process of its own; one that has ended already is not done again."""
    out = arguments.out
    given = ["--unlearned", out / "run", "--fact", arguments.fact, "--oracle", "never", "--out", out / name]
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    command = [sys.executable, "-m", "genunlearn", "audit", *map(str, given), "--resume", *settings]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def numbers(folder: Path) -> dict[str, Any]:
    """What an audit has found."""
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    return {key: record[key] for key in ("results", "verdicts", "outcome")}


if __name__ == "__main__":
    main()
