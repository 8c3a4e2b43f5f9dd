"""Bad teaching (Chundawat et al., AAAI 2023): one sub-class of a coarse class is forgotten."""

from __future__ import annotations

from markdown_blocks import table
from torch.nn.functional import cross_entropy

from genunlearn.data.network.items import Item, targets_of
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.evaluation.network.predictions import Predictions
from genunlearn.lab.network.digits import COARSE
from genunlearn.lab.network.study import ORACLE_SEEDS, open_lab
from genunlearn.methods.network.amnesiac import Amnesiac
from genunlearn.methods.network.bad_teaching import BadTeaching
from genunlearn.ops.randomness import zero_retrain_forgetting, zero_retrain_forgetting_authors
from seed_papers.carrying import training, unlearned
from seed_papers.cells import over, percent

REQUEST = "subclass:7"
PUBLISHED = {
    "original": ("85.78", "82.0", "0.536", "0.8767"),
    "oracle": ("85.77", "3.0", "7.545", "0.9299"),
    "bad teaching": ("84.57", "3.0", "3.327", "0.9941"),
    "amnesiac": ("84.92", "2.0", "4.925", "-"),
}
"""ResNet-18 on CIFAR-Super20, sub-class rocket, test accuracies: the authors' notebook."""

Look = tuple[float, float, float, float, float]


def run(seeds: int) -> str:
    """Original, oracle, bad teaching and amnesiac relabelling, with as many steps as the authors' one epoch has."""
    lab = open_lab(COARSE, REQUEST)
    gone = list(lab.splits.holdout or ())
    names = {item.id for item in gone}
    kept = [item for item in lab.test if item.id not in names]
    looks: dict[str, list[Look]] = {name: [] for name in PUBLISHED}
    looks["oracle"] = [look(lab.oracles[n], kept, gone) for n in range(len(ORACLE_SEEDS))]
    for seed in range(seeds):
        original = COARSE.original(seed)
        looks["original"].append(look(original, kept, gone))
        for name, method, steps in (("bad teaching", BadTeaching(), 60), ("amnesiac", Amnesiac(), 60)):
            model, _ = unlearned(original, method, lab.splits, training(1e-3, steps), seed=seed)
            looks[name].append(look(model, kept, gone))
    header = ("", "published: retain", "forget", "forget loss", "ZRF, authors'", "ours: retain", "forget",
              "forget loss", "ZRF, authors'", "ZRF")  # fmt: skip
    return table(header, [[name, *PUBLISHED[name], *cells(looks[name])] for name in PUBLISHED])


def cells(seen: list[Look]) -> list[str]:
    """Over seeds."""
    retain, forget, loss, authors, score = zip(*seen, strict=True)
    return [percent(retain), percent(forget), over(loss), over(authors, 4), over(score)]


def look(model: NetworkDomain, kept: list[Item], gone: list[Item]) -> Look:
    """Test accuracy on what stays and on what goes, the latter's loss, and the two forms of ZRF."""
    probes = Predictions(model, {"retain": kept, "forget": gone})
    answers, untrained = probes.outputs("forget"), probes.untrained_outputs("forget")
    loss = cross_entropy(answers, targets_of(gone))
    levels = [probes.correct(group).double().mean() for group in ("retain", "forget")]
    scores = [f(answers, untrained).mean() for f in (zero_retrain_forgetting_authors, zero_retrain_forgetting)]
    retain, forget = levels
    return float(retain), float(forget), float(loss), float(scores[0]), float(scores[1])
