#!/usr/bin/env python
"""Gone, or only hidden: erasure methods on lab:diffusion under the full panel of attacks, on two digits.

    python scripts/bench/audit_table.py                            # about an hour on two cores
    python scripts/bench/audit_table.py --write docs/audits.md     # and put the tables there
    python scripts/bench/audit_table.py --suite quick --concepts "digit seven" --methods uce

Models come from the runs of `scripts/bench/erasure_table.py` (its --out), which are made here where they are missing.
The oracle and the original are audited as well: the former should come out gone, the latter present. What was found on
original and oracle is shared among the audits of a concept. Finished audits are kept in --out and not done again.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from erasure_table import one_run
from markdown_blocks import replace_block, table

from genunlearn.lab.diffusion.build import build
from genunlearn.records import COMPLETED, RECORD_NAME, RunRecord, read_record
from genunlearn.reports.audit.compare import write_comparison
from genunlearn.reports.numbers import format_estimate
from genunlearn.runs.api import audit_config, run

CONCEPTS = ("digit seven", "digit three")
METHODS = ("esd", "esd_u", "concept_ablation", "sdd", "uce", "salun")
CONTROLS = ("oracle", "original")


def main() -> None:
    """Carry out what is missing, print the tables, write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default=",".join((*METHODS, *CONTROLS)), help="comma-separated")
    parser.add_argument("--concepts", default=",".join(CONCEPTS), help="comma-separated concepts of the lab")
    parser.add_argument("--suite", default="full", help="quick or full")
    parser.add_argument("--images", type=int, help="images of each concept under each attack, instead of the suite's")
    parser.add_argument("--erasures", type=Path, default=Path("runs/erasure-table"), help="folder of the erasure runs")
    parser.add_argument("--out", type=Path, default=Path("runs/audit-table"), help="folder of the audits")
    parser.add_argument("--write", type=Path, help="Markdown file whose blocks 'verdicts' and 'attacks' are replaced")
    arguments = parser.parse_args()
    records: dict[tuple[str, str], RunRecord] = {}
    for concept in arguments.concepts.split(","):
        for method in arguments.methods.split(","):
            records[concept, method] = one_audit(concept, method, arguments)
            print(f"{concept}, {method}: {records[concept, method].outcome}", flush=True)
    write_comparison({f"{method}, {concept}": record for (concept, method), record in records.items()}, arguments.out)
    texts = {"verdicts": verdicts(records), "attacks": attacks(records)}
    for name, text in texts.items():
        print(f"\n{text}")
        if arguments.write:
            replace_block(arguments.write, name, text)


def one_audit(concept: str, method: str, arguments: argparse.Namespace, oracle: str = "auto") -> RunRecord:
    """The record of one audit, carried out now if it is not there yet."""
    place = concept.replace(" ", "-")
    folder = arguments.out / place / (method if oracle == "auto" else f"{method}-{oracle}")
    if (folder / RECORD_NAME).is_file() and (record := read_record(folder)).status == COMPLETED:
        return record
    overrides = [f"controls={arguments.out / 'controls'}", f"request.force={str(method in CONTROLS).lower()}"]
    if arguments.images:
        overrides.append(f"evaluate.images={arguments.images}")
    model = model_of(concept, method, arguments.erasures / place / method)
    request = {"concepts": (concept,)}
    config = audit_config(model, request, oracle=oracle, suite=arguments.suite, overrides=overrides)
    return run(config, out=folder, resume=folder.exists())


def model_of(concept: str, method: str, folder: Path) -> str:
    """The model to audit: a control, or what an erasure run has left."""
    if method == "oracle":
        return str(build([concept]))
    if method == "original":
        return "lab:diffusion"
    one_run(method, concept, folder, images=16, with_oracle=False)
    return str(folder)


# ---- the tables -------------------------------------------------------------------------------------------------

Records = Mapping[tuple[str, str], RunRecord]


def verdicts(records: Records) -> str:
    """One line a concept and model: the verdict, what recovers it, and the scores with their intervals."""
    rows = []
    for (concept, method), record in records.items():
        (found,) = (row for row in record.verdicts if row["concept"] == concept)
        scores = [record.find(name, "unlearned", concept) for name in ("normalised_leak", "crs", "ccs", "crs_signed")]
        cells = [format_estimate(r) if r and r.value is not None else "-" for r in scores]
        rows.append([concept, method, found["verdict"], "; ".join(found["recovered_by"]) or "nothing", *cells])
    header = ["concept", "model", "verdict", "recovered by", "normalised leak", "CRS", "CCS", "signed CRS"]
    return table(header, rows)


def attacks(records: Records) -> str:
    """Share of images that show the concept, one line an attack, models in columns."""
    lines: dict[tuple[str, str], dict[str, str]] = {}
    methods = list(dict.fromkeys(method for _, method in records))
    for (concept, method), record in records.items():
        for comparison in record.verdicts[0]["comparisons"]:
            label = ", ".join(filter(None, (comparison["attack"], comparison["strength"])))
            shares = comparison["shares"]
            cells = lines.setdefault((concept, label), {})
            cells[method] = share(shares.get("unlearned"))
            cells.setdefault("oracle", share(shares.get("oracle")))
    header = ["concept", "attack", *methods]
    return table(header, [[*key, *(cells.get(method, "-") for method in methods)] for key, cells in lines.items()])


def share(found: Mapping[str, int] | None) -> str:
    """``12/64``."""
    return f"{found['shown']}/{found['n']}" if found else "-"


if __name__ == "__main__":
    main()
