#!/usr/bin/env python
"""How often a verdict beside surrogates is the one beside an oracle: erasure methods on lab:diffusion, audited twice.

    python scripts/bench/surrogate_table.py                            # about two hours on two cores
    python scripts/bench/surrogate_table.py --write docs/audits.md     # and put the table there
    python scripts/bench/surrogate_table.py --concepts "digit seven" --methods oracle,original,uce

Models are those of `scripts/bench/audit_table.py`, made here where they are missing. What was found on original, oracle
and surrogates is shared among the audits of a concept. Finished audits are kept in --out and not done again.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from audit_table import CONCEPTS, CONTROLS, METHODS, one_audit
from markdown_blocks import replace_block, table

from genunlearn.records import RunRecord

DECIDED = ("gone", "concealed", "present", "damaged")


def main() -> None:
    """Carry out what is missing, print the table, write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default=",".join((*CONTROLS, *METHODS)), help="comma-separated")
    parser.add_argument("--concepts", default=",".join(CONCEPTS), help="comma-separated concepts of the lab")
    parser.add_argument("--suite", default="quick", help="quick or full")
    parser.add_argument("--images", type=int, help="images of each concept at the first look, instead of the suite's")
    parser.add_argument("--erasures", type=Path, default=Path("runs/erasure-table"), help="folder of the erasure runs")
    parser.add_argument("--out", type=Path, default=Path("runs/surrogate-table"), help="folder of the audits")
    parser.add_argument("--write", type=Path, help="Markdown file whose block 'surrogates' is replaced")
    arguments = parser.parse_args()
    rows = []
    for concept in arguments.concepts.split(","):
        for method in arguments.methods.split(","):
            pair = [one_audit(concept, method, arguments, oracle) for oracle in ("auto", "never")]
            rows.append([concept, method, *map(cell, pair)])
            print(" | ".join(rows[-1]), flush=True)
    text = "\n\n".join([table(["concept", "model", "beside the oracle", "beside surrogates"], rows), summary(rows)])
    print(f"\n{text}")
    if arguments.write:
        replace_block(arguments.write, "surrogates", text)


def cell(record: RunRecord) -> str:
    """The verdict, and the first attack that recovers the concept."""
    (found,) = record.verdicts
    by = found["recovered_by"]
    return f"{found['verdict']} ({by[0]})" if found["verdict"] == "concealed" else found["verdict"]


def summary(rows: Sequence[Sequence[str]]) -> str:
    """How often the two agree, and how often the surrogates decide otherwise or leave open."""
    counts = Counter(kind(*(text.partition(" (")[0] for text in row[2:])) for row in rows)
    return (
        f"Of {len(rows)} models the two verdicts agree on {counts['same']}. Beside surrogates {counts['open']} are "
        f"undecided that the oracle decides, {counts['decided']} are decided that it leaves open, and "
        f"{counts['other']} are decided otherwise."
    )


def kind(oracle: str, surrogates: str) -> str:
    """``same``, ``open``, ``decided`` or ``other``."""
    if oracle == surrogates:
        return "same"
    if surrogates not in DECIDED:
        return "open"
    return "other" if oracle in DECIDED else "decided"


if __name__ == "__main__":
    main()
