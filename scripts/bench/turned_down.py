#!/usr/bin/env python
"""What a patch turned down still hides: one GradDiff patch of facts of lab:lm, audited at several strengths.

    python scripts/bench/turned_down.py                            # some ten minutes on two cores
    python scripts/bench/turned_down.py --attacks "{exposure: {}}" --strengths 0.25

The patch forgets three facts at once. Its strength is the factor before B A: 1 as trained, 0 the base. The oracle never
saw the three; it infers one of them all the same, which is left out.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from markdown_blocks import table

from genunlearn.lab.lm.build import build
from genunlearn.records import COMPLETED, RECORD_NAME, RunRecord, read_record
from genunlearn.runs.api import audit_config, forget_config, run

PATCHED = ("frankenstein.created-by", "akira-kurosawa.died-in", "carmen.created-by")
AUDITED = (PATCHED[0], PATCHED[2])
PANEL = (
    "{prefix_forcing: {}, completion: {}, sampling: {samples: 8, temperatures: [1.0]}, exposure: {}, "
    "relearning: {lessons: [phrasings], marks: [1, 2, 3, 5], learning_rate: 1e-3}}"
)


def main() -> None:
    """Audit every strength and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strengths", default="0.1,0.25,0.5,1", help="comma-separated")
    parser.add_argument("--attacks", default=PANEL, help="as in a configuration")
    parser.add_argument("--out", type=Path, default=Path("runs/turned-down"), help="folder of the runs")
    arguments = parser.parse_args()
    patch, oracle = patch_of(arguments.out / "grad_diff"), str(build(without=PATCHED))
    rows: dict[tuple[str, str], list[str]] = {}
    for strength in arguments.strengths.split(","):
        folder = weakened(patch, float(strength), arguments.out / f"patch-{strength}")
        overrides = [f"attacks={arguments.attacks}", f"controls={arguments.out / 'controls'}"]
        config = audit_config(str(folder), {"facts": AUDITED}, oracle=oracle, overrides=overrides)
        place = arguments.out / f"audit-{strength}"
        record = read_record(place) if is_done(place) else run(config, out=place, resume=place.exists())
        print(f"strength {strength}: {record.outcome}", flush=True)
        add(rows, record, strength)
    text = table(["fact", "model", "verdict", "plain", "widest gap to the oracle, in answers", "p of the exposure"],
                 [[*key, *cells] for key, cells in sorted(rows.items())])  # fmt: skip
    print(text)


def patch_of(folder: Path) -> Path:
    """The patch at full strength, made now if it is not there."""
    if not is_done(folder):
        quiet = ["evaluate.oracle=never", "evaluate.suite=facts-quick", "evaluate.samples=0"]
        run(forget_config("lab:lm", {"facts": PATCHED}, method="grad_diff", overrides=quiet), out=folder)
    return folder / "patch"


def weakened(patch: Path, strength: float, folder: Path) -> Path:
    """A copy of the patch with `strength` before its change."""
    # its note says the hash of the patch as it was written
    shutil.copytree(patch, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("genunlearn.json"))
    config = json.loads((patch / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": strength * config["lora_alpha"]}))
    return folder


def is_done(folder: Path) -> bool:
    """Whether a finished run lies there."""
    return (folder / RECORD_NAME).is_file() and read_record(folder).status == COMPLETED


def add(rows: dict[tuple[str, str], list[str]], record: RunRecord, strength: str) -> None:
    """One line a fact for the model of that strength, for the original and for the oracle."""
    for verdict in record.verdicts:
        fact = verdict["concept"]
        for target, name in (("unlearned", f"strength {strength}"), ("original", "original"), ("oracle", "oracle")):
            shares = [(c["attack"], c["shares"].get(target), c["shares"].get("oracle")) for c in verdict["comparisons"]]
            plain = next(share for attack, share, _ in shares if attack == "plain prompts")
            gaps = [(mine["shown"] - control["shown"], attack) for attack, mine, control in shares if mine and control]
            gap, attack = max(gaps)
            p = record.find("exposure_p", target, f"{fact}, exposure, p")
            said = f"{attack}, {gap:+d}" if target == "unlearned" else "-"
            called = verdict["verdict"] if target == "unlearned" else "-"
            rank = "-" if p is None or p.value is None else f"{p.value:.3f}"
            rows[fact, name] = [called, f"{plain['shown']}/{plain['n']}", said, rank]


if __name__ == "__main__":
    main()
