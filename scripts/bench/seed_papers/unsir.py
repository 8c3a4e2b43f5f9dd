"""UNSIR (Tarun et al., TNNLS 2023): two classes of ten are forgotten, after each of its stages."""

from __future__ import annotations

from typing import Any

from markdown_blocks import table

from genunlearn.lab.network.digits import DIGITS
from genunlearn.lab.network.study import open_lab, score
from genunlearn.methods.network.unsir import Unsir
from seed_papers.carrying import training, unlearned
from seed_papers.cells import percent

REQUEST = "class:0,2"
PUBLISHED = {"original": "77.17 (all)", "impair": "68.18 / 0.63", "repair": "70.95 / 0.00"}
"""ResNet-18 on CIFAR-10, classes 0 and 2, test accuracies of retain / forget: the authors' notebook."""
SMALL: dict[str, Any] = {
    "noise_count": 64,
    "noise_copies": 8,
    "samples_per_class": 100,
    "impair_steps": 25,
    "repair_steps": 15,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "rates of the paper, 0.02 and 0.01": {"impair_rate": 0.02, "repair_rate": 0.01},
    "rates for a small network, 0.003 both": {"impair_rate": 3e-3, "repair_rate": 3e-3},
    "the same, all noise labelled 0 as in the code": {
        "impair_rate": 3e-3,
        "repair_rate": 3e-3,
        "noise_labels": "authors",
    },
}


def run(seeds: int) -> str:
    """Both stages for each setting, over originals and noise of different seeds."""
    lab = open_lab(DIGITS, REQUEST)
    gone = list(lab.splits.holdout or ())
    names = {item.id for item in gone}
    kept = [item for item in lab.test if item.id not in names]

    def look(model: Any) -> tuple[float, float]:
        return score(model, kept), score(model, gone)

    originals = [DIGITS.original(seed) for seed in range(seeds)]
    rows = [
        ["original", PUBLISHED["original"], *pair([look(model) for model in originals])],
        ["oracle", "-", *pair([look(model) for model in lab.oracles])],
    ]
    for name, options in SETTINGS.items():
        phases = []
        for seed, original in enumerate(originals):
            method = Unsir(**SMALL, **options, seed=seed)
            phases.append(unlearned(original, method, lab.splits, training(1e-3, 1), seed=seed, look=look)[1])
        for number, stage in enumerate(("impair", "repair")):
            rows.append([f"{stage}, {name}", PUBLISHED[stage], *pair([seen[number] for seen in phases])])
    return table(("", "published: retain / forget", "ours: retain", "forget"), rows)


def pair(seen: list[tuple[float, float]]) -> list[str]:
    """Retain and forget accuracy over seeds."""
    return [percent(side) for side in zip(*seen, strict=True)]
