#!/usr/bin/env python
"""D2DGN and GNNDelete on Planetoid's Cora, nodes and links, beside original, oracle and the numbers of others.

    python scripts/bench/graph_table.py --data PATH/TO/planetoid/Cora
    python scripts/bench/graph_table.py --data PATH/TO/planetoid/Cora --markdown docs/results/graph.md

A tenth of the learnt nodes, and a twentieth of the learnt links, with a fifth of both kept for the test. A seed decides
the division, the forget set, the original, and what a method draws; the oracle is one network more. Runs that are done
are not done again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from markdown_blocks import replace_block, seeds_cell, table

from genunlearn.config import load_config
from genunlearn.contracts import ORACLE, ORIGINAL, UNLEARNED
from genunlearn.records import COMPLETED, RunRecord, read_record
from genunlearn.registry import RUNS
from genunlearn.reports.graph.reading import LINK_ROWS, NODE_ROWS
from genunlearn.reports.graph.report import label_of

METHODS = {"d2dgn": "D2DGN", "gnndelete": "GNNDelete"}
REQUESTS = {"nodes": "nodes:0.1", "links": "edges:0.05"}
SEEDS = (0, 1, 2, 3, 4)
TEST_SHARE = 0.2
COLUMNS = {
    "nodes": (*(row for row in NODE_ROWS if row[1] != "test_forget"), ("consistency", "forget"), ("membership", None)),
    "links": (*LINK_ROWS, ("membership_ratio", "forget"), ("membership", None), ("link_stealing", None)),
}
"""What is shown of each request: metric and set."""
PUBLISHED = {
    "nodes": "OpenGU (arXiv 2501.02728), SGC, F1 on the test nodes, 10% of the nodes: D2DGN 88.41 ± 0.20, GNNDelete "
    "74.78 ± 5.49.",
    "links": "OpenGU (arXiv 2501.02728), GraphSAGE, AUC on the test links, 10% of the links: D2DGN 80.65 ± 0.82, "
    "GNNDelete 84.28 ± 1.38. The paper of D2DGN claims 2.4% more AUC than GNNDelete; its table was not at hand.",
}


def main() -> None:
    """Do what is not done yet, and print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of Planetoid's Cora")
    parser.add_argument("--out", type=Path, default=Path("runs/graph-table"), help="folder of the runs")
    parser.add_argument("--markdown", type=Path, help="put the tables into this document")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="how many seeds")
    parser.add_argument("--requests", nargs="+", choices=list(REQUESTS), default=list(REQUESTS), help="which tables")
    arguments = parser.parse_args()
    for request in arguments.requests:
        records: dict[str, list[RunRecord]] = {method: [] for method in METHODS}
        for seed in SEEDS[: arguments.seeds]:
            for method, runs in records.items():
                runs.append(carry_out(request, method, seed, arguments))
        text = f"{table_of(records, COLUMNS[request])}\n\n{PUBLISHED[request]}"
        print(f"\n{request}\n{text}", flush=True)
        if arguments.markdown:
            replace_block(arguments.markdown, request, text)


def carry_out(request: str, method: str, seed: int, arguments: argparse.Namespace) -> RunRecord:
    """One run, or its record where it is done."""
    folder = arguments.out / f"{request}-{method}-{seed}"
    is_begun = (folder / "record.json").is_file()
    if is_begun and (record := read_record(folder)).status == COMPLETED:
        return record
    overrides = [
        f"request.forget={REQUESTS[request]}",
        f"request.data={arguments.data}",
        f"request.split={seed}",
        f"request.test_share={TEST_SHARE}",
        f"seed={seed}",
        "evaluate.oracles=1",
        "evaluate.attacks=[membership, link_stealing]",
    ]
    config, start = load_config(f"graph/cora/{method}", overrides), time.monotonic()
    record = RUNS.get(config.task)(config, folder, resume=is_begun)()
    print(f"{folder.name}: {record.outcome}, {time.monotonic() - start:.0f} s", flush=True)
    return record


def table_of(records: Mapping[str, Sequence[RunRecord]], columns: Sequence[tuple[str, str | None]]) -> str:
    """Original, methods and oracle in rows; means over the seeds with their t-intervals."""
    first = next(iter(records.values()))
    models = [("Original", ORIGINAL, first)]
    models += [(METHODS[method], UNLEARNED, runs) for method, runs in records.items()]
    models += [("Oracle", ORACLE, first)]
    heads = [label_of(column) for column in columns]
    rows = [
        [label, *(_cell(runs, name, target, group) for name, group in columns), _seconds(runs, target)]
        for label, target, runs in models
    ]
    return table([f"n={len(first)} seeds", *heads, "CPU seconds"], rows)


def _cell(runs: Sequence[RunRecord], name: str, target: str, group: str | None) -> str:
    found = [run.find(name, target, group) for run in runs]
    return seeds_cell([result.value if result else None for result in found])


def _seconds(runs: Sequence[RunRecord], target: str) -> str:
    key = {UNLEARNED: "unlearning_cpu_seconds", ORACLE: "retraining_cpu_seconds"}.get(target)
    return seeds_cell([float(run.cost[key]) for run in runs if key in run.cost]) if key else ""


if __name__ == "__main__":
    main()
