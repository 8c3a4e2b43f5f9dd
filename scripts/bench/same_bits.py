"""Patch hashes and results of one run of each kind, seed 0: written to a file, or held against one.

    python scripts/bench/same_bits.py --write before.json
    python scripts/bench/same_bits.py --against before.json

For changes that are to change nothing: what differs is printed, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import genunlearn

POTTER = ('request.facts=["Harry Potter | studied at | Hogwarts"]',)
SEVEN = ("request.concepts=[digit seven]",)
RUNS: dict[str, tuple[str, tuple[str, ...]]] = {
    "unstar": ("lm/lab/unstar", POTTER),
    "npo": ("lm/lab/npo", POTTER),
    "bad_teaching": ("classifier/digits/bad_teaching", ()),
    "blindspot": ("regression/diabetes/blindspot", ()),
    "uce": ("diffusion/lab/uce", SEVEN),
    "esd": ("diffusion/lab/esd", SEVEN),
    "audit": ("diffusion/audit/quick", (*SEVEN, "unlearned={folder}/uce")),
}
"""By label: configuration and overrides; ``{folder}`` is where the other runs lie."""
RESULT = ("name", "target", "group", "value", "low", "high", "n", "skipped")


def carry_out(folder: Path, label: str) -> dict[str, Any]:
    """What one run gives: the hash of what it wrote, its results and, of an audit, its verdicts."""
    config, overrides = RUNS[label]
    record = genunlearn.run(
        config, out=folder / label, overrides=[one.format(folder=folder) for one in overrides], progress=True
    )
    rows = sorted([[getattr(result, name) for name in RESULT] for result in record.results], key=str)
    written = {name: record.hashes[name] for name in ("base", "patch", "model") if name in record.hashes}
    return {"hashes": written, "outcome": record.outcome, "results": rows, "verdicts": record.verdicts}


def differences(before: Any, after: Any, place: str = "") -> list[str]:
    """Where two pieces of JSON differ, a line each."""
    if isinstance(before, dict) and isinstance(after, dict):
        names = sorted(before.keys() | after.keys())
        return [line for name in names for line in differences(before.get(name), after.get(name), f"{place}/{name}")]
    if isinstance(before, list) and isinstance(after, list) and place.endswith("/results"):
        gone, come = ([row for row in one if row not in two] for one, two in ((before, after), (after, before)))
        return [f"{place}: {sign} {row}" for sign, rows in (("-", gone), ("+", come)) for row in rows]
    return [] if before == after else [f"{place}: {before!r} -> {after!r}"]


def main() -> int:
    """Run, then write or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="file to write the results to")
    parser.add_argument("--against", type=Path, help="file to compare the results with")
    parser.add_argument("--only", nargs="+", choices=RUNS, default=list(RUNS), help="leave the others out")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = {label: carry_out(Path(folder), label) for label in asked.only}
    found = json.loads(json.dumps(found))
    if asked.write:
        asked.write.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if not asked.against:
        return 0
    before = json.loads(asked.against.read_text(encoding="utf-8"))
    lines = [line for label in found for line in differences(before[label], found[label], label)]
    print("\n".join(lines) or f"the same to the bit: {', '.join(found)}")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
