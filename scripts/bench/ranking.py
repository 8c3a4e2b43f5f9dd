#!/usr/bin/env python
"""Seconds that it takes to rank every item for every user, with all metrics, on random vectors.

python scripts/bench/ranking.py                     # 20,000 users by 7,000 items
python scripts/bench/ranking.py --users 5000 --kind knn_fusion
"""

from __future__ import annotations

import argparse
import time

import torch

from genunlearn.domains.recommender.adapter import Recommender
from genunlearn.domains.recommender.models import KINDS
from genunlearn.ops.ranking import CUTOFFS, METRICS, NO_ITEMS, Ranked, rank_metrics


def main() -> None:
    """Make a recommender, rank, and print the seconds and the metrics."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--items", type=int, default=7_000)
    parser.add_argument("--chosen", type=int, default=8, help="interactions of a user: half known, half looked for")
    parser.add_argument("--kind", choices=sorted(KINDS), default="knn_fusion")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    generator = torch.Generator().manual_seed(0)
    users = torch.arange(arguments.users).repeat_interleave(arguments.chosen)
    items = torch.randint(arguments.items, users.shape, generator=generator)
    pairs = torch.stack([users, items], 1).unique(dim=0)
    pairs = pairs[torch.randperm(len(pairs), generator=generator)]
    known, sought = pairs.chunk(2)
    features = {
        "image": torch.randn(arguments.items, 4096, generator=generator),
        "text": torch.randn(arguments.items, 384, generator=generator),
    }
    model = Recommender(arguments.kind, (arguments.users, arguments.items), known, features=features)
    asked = Ranked(relevant=sought, seen=known, barred=NO_ITEMS)
    start, worked = time.monotonic(), time.process_time()
    found = rank_metrics(model.scorer(), asked, arguments.items)
    seconds, cpu = time.monotonic() - start, time.process_time() - worked
    print(
        f"{arguments.kind}: {len(asked.users):,} users by {arguments.items:,} items in {seconds:.1f} s "
        f"({cpu:.1f} s of CPU time, {arguments.threads} threads)"
    )
    for name in METRICS:
        means = found[name].mean(0).tolist()
        print(f"{name:10}", "  ".join(f"@{k} {mean:.4f}" for k, mean in zip(CUTOFFS, means, strict=True)))


if __name__ == "__main__":
    main()
