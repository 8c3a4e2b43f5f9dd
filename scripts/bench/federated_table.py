#!/usr/bin/env python
"""Clients forgotten by every method beside the oracles, on MNIST: the table of ConDa's paper, and ConDa's options.

    python scripts/bench/federated_table.py --data mnist.npz                                   # prints the tables
    python scripts/bench/federated_table.py --data mnist.npz --write docs/results/federated.md

The file holds ``x_train``, ``y_train``, ``x_test`` and ``y_test``, as MNIST is commonly kept. Runs are kept under
``runs/federated-table``: after an interruption those that have ended are read back.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from markdown_blocks import replace_block, seeds_cell, table

from genunlearn import RunRecord, load_config, run
from genunlearn.config.network import FederatedConfig
from genunlearn.data.network.items import Item, targets_of
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.lab.determinism import fixed_threads
from genunlearn.methods.network.conda import ConDa
from genunlearn.ops.intervals import share
from genunlearn.records import Result
from genunlearn.reports.numbers import format_estimate, format_number
from genunlearn.runs.folder import ended_run
from genunlearn.runs.methods import build_method
from genunlearn.runs.network.federated.request import read_federated

SETTINGS = (
    "request.limit=12000",
    "request.forget=client:0,1,2",
    "federation.concentration=5.0",
    "federation.rounds=8",
    "federation.epochs=1",
    "federation.learning_rate=0.01",
    "federation.width=8",
    "federation.keep_every=1",
    "backdoor.size=6",
)
"""Enough for the original to tell digits apart and to have learnt the backdoor; the page says what was tried."""
SEEDS = 1
ATTACKED = 1
"""Federations in which membership is measured, which takes more than all the rest."""
METHODS = {
    "grad_ascent": "NegGrad",
    "pga": "PGA",
    "fed_eraser": "FedEraser",
    "conda": "ConDa",
    "fed_retrain": "Retrain",
}
COLUMNS: tuple[tuple[str, str, str | None], ...] = (
    ("R-set", "accuracy", "retain"),
    ("U-set", "accuracy", "forget"),
    ("Test", "accuracy", "test"),
    ("Backdoor", "accuracy", "backdoor"),
    ("Shadow AUC", "mia_shadow", "matched"),
    ("ConDa's attack", "mia_conda", None),
)
PUBLISHED = {
    "Original": ("97.85", "83.99 ± 0.01", "24.11 ± 1.11", "95.18 ± 0.01"),
    "NegGrad": ("83.54 ± 0.35", "57.19 ± 0.25", "1.42 ± 0.12", "50.17 ± 0.02"),
    "PGA": ("94.96 ± 0.40", "76.76 ± 1.00", "1.21 ± 0.06", "49.94"),
    "FedEraser": ("46.43", "39.98 ± 0.47", "60.61 ± 1.37", "48.36"),
    "ConDa": ("95.41 ± 1.02", "81.65 ± 2.13", "22.16 ± 0.02", "50.00 ± 0.01"),
    "Retrain": ("97.93 ± 0.05", "80.08 ± 0.06", "0.21 ± 0.21", "51.04 ± 0.01"),
}
"""Table 1 of arXiv 2410.04144, MNIST with AllCNN: R-set, U-set, backdoor and membership in percent."""
OPTIONS: dict[str, dict[str, Any]] = {
    **{f"as the text intends, alpha {alpha}": {"alpha": alpha} for alpha in (0.4, 0.5, 0.6, 0.7)},
    "the same, BatchNorm too, alpha 0.6": {"alpha": 0.6, "buffers": True},
    "as printed, lambda = U = 1, alpha 0.4": {"alpha": 0.4, "rule": "printed"},
    "as printed, lambda = U = 10, alpha 0.4": {"alpha": 0.4, "rule": "printed", "strength": 10.0, "upper": 10.0},
    "as released, lambda = U = 1, alpha 0.4": {
        "alpha": 0.4, "direction": "released", "since": "initial", "buffers": True,
    },
    "as released, lambda = U = 10, alpha 0.4": {
        "alpha": 0.4, "direction": "released", "since": "initial", "buffers": True, "strength": 10.0, "upper": 10.0,
    },
}  # fmt: skip


def main() -> None:
    """Run every method, try ConDa's options, and print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="an .npz file of pictures")
    parser.add_argument("--out", type=Path, default=Path("runs/federated-table"), help="folder of the runs")
    parser.add_argument("--set", action="append", default=[], help="section.key=value, over the settings of the page")
    parser.add_argument(
        "--write", type=Path, help="Markdown file whose blocks 'methods', 'published', 'options' to fill"
    )
    parser.add_argument("--seeds", type=int, default=SEEDS, help="federations, each with data and clients of its own")
    arguments = parser.parse_args()

    worked, records = time.process_time(), dict[str, list[RunRecord]]()
    for seed in range(arguments.seeds):
        overrides = [*arguments.set, f"seed={seed}"]
        for name in METHODS:
            folder = arguments.out / f"{name}-{seed}"
            unattacked = [] if seed < ATTACKED else ["evaluate.attacks=[]"]
            config = settings(name, arguments.data, [*overrides, *unattacked])
            records.setdefault(name, []).append(carry_out(config, folder))
    blocks = {
        "methods": methods_table(records),
        "published": table(
            ["Model", "R-set, %", "U-set, %", "Backdoor, %", "Membership, %"],
            [[name, *cells] for name, cells in PUBLISHED.items()],
        ),
        "options": options_table(arguments.data, arguments.set),
    }
    print(f"{(time.process_time() - worked) / 60:.1f} minutes of CPU time")
    for name, text in blocks.items():
        print(f"\n{text}")
        if arguments.write:
            replace_block(arguments.write, name, text)


def settings(name: str, data: Path, overrides: Sequence[str]) -> FederatedConfig:
    """The configuration of a method on this data."""
    config = load_config(f"federated/digits/{name}", [*SETTINGS, f"request.data={data.resolve()}", *overrides])
    assert isinstance(config, FederatedConfig)
    return config


def carry_out(config: FederatedConfig, folder: Path) -> RunRecord:
    """The record of a run: read back where it has ended, gone on with where it was interrupted."""
    if (done := ended_run(folder, config)) is not None:
        return done
    print(f"{folder.name} ...", flush=True)
    return run(config, out=folder, resume=folder.is_dir())


def methods_table(records: dict[str, list[RunRecord]]) -> str:
    """Models in rows, the paper's measures in columns."""
    first = next(iter(records.values()))
    lines: list[tuple[str, list[RunRecord], str]] = [("Original", first, "original")]
    lines += [(METHODS[name], runs, "unlearned") for name, runs in records.items()]
    lines.append(("Oracle", first, "oracle"))
    rows = []
    for label, runs, target in lines:
        found = [[one.find(name, target, group) for one in _asked(runs, name)] for _, name, group in COLUMNS]
        cells = [_cell(column) for column in found]
        key = {"original": None, "oracle": "retraining_cpu_seconds"}.get(target, "unlearning_cpu_seconds")
        rows.append([label, *cells, format_number(fmean(float(one.cost[key]) for one in runs)) if key else ""])
    heads = [f"{head} (n={_n(first, name, group)})" for head, name, group in COLUMNS]
    return table(["Model", *heads, "CPU seconds"], rows)


def _cell(results: Sequence[Result | None]) -> str:
    """The mean over federations; of a single one its own interval over items."""
    if len(results) == 1 and results[0] is not None:
        return format_estimate(results[0], with_n=False)
    return seeds_cell([one.value if one else None for one in results], ends=(0.0, 1.0))


def _asked(runs: Sequence[RunRecord], name: str) -> Sequence[RunRecord]:
    """The runs in which a metric was measured."""
    return runs if name == "accuracy" else runs[:ATTACKED]


def _n(runs: Sequence[RunRecord], name: str, group: str | None) -> str:
    """How many items stand behind a column, in the smallest and the largest federation."""
    found = sorted({one.n for run in _asked(runs, name) if (one := run.find(name, "original", group))})
    return " to ".join(f"{n:,}" for n in dict.fromkeys((found[0], found[-1]))) if found else "?"


def options_table(data: Path, overrides: Sequence[str]) -> str:
    """What ConDa does to the first original under each of its options."""
    config = settings("conda", data, [*overrides, "seed=0"])
    request = read_federated(config, build_method(config.method, family="network"))
    groups = [request.measured()[name] for name in ("retain", "forget", "test", "backdoor")]
    rows = []
    with fixed_threads():
        for label, fields in OPTIONS.items():
            model = request.federated.original()
            done = ConDa(**fields).apply(model, request.splits()).details
            cells = [format_estimate(_accuracy(model, items), with_n=False) for items in groups]
            rows.append([label, f"{done['dampened'] / done['weights']:.1%}", *cells])
    return table(["ConDa", "Weights changed", "R-set", "U-set", "Test", "Backdoor"], rows)


def _accuracy(model: NetworkDomain, items: Sequence[Item]) -> Result:
    right = int((model.predict(items).argmax(1) == targets_of(items)).sum())
    value, low, high = share(right, len(items))
    return Result(name="accuracy", target="", value=value, low=low, high=high, n=len(items))


if __name__ == "__main__":
    main()
