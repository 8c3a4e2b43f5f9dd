"""The course project: what fine-tuning costs, attacks against matched non-members, an adversarial forget set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from markdown_blocks import table

from genunlearn.attacks.network.base import AttackContext
from genunlearn.attacks.network.membership import MatchedMembership
from genunlearn.contracts import Beside, Method, Splits
from genunlearn.data.network.items import Item
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.lab.network.digits import DIGITS
from genunlearn.lab.network.study import Lab, open_lab, score
from genunlearn.methods.general.fine_tune import FineTune
from genunlearn.methods.general.fine_tune_l2 import FineTuneL2
from seed_papers.carrying import steps_of, training, unlearned
from seed_papers.cells import over, percent

RATE, BATCH, EPOCHS = 0.01, 64, 3
LAMBDAS = (0.01, 0.1, 1.0)
PUBLISHED_FINE_TUNE, PUBLISHED_PENALTY = "84.1", "85.8 to 88, by lambda"
FORGET_SETS = ("random:0.1", "confidence:0.1", "influence:0.1")


def run(seeds: int) -> str:
    """The three experiments."""
    parts = {
        "Fine-tuning costs test accuracy, the weight penalty brings it back (random:0.1)": penalty(seeds),
        "Membership of one class, by non-members of the same kind and of all kinds (class:3)": membership(),
        "Forget sets chosen at random and adversarially": adversarial(seeds),
    }
    return "\n\n".join(f"**{title}**\n\n{text}" for title, text in parts.items())


def penalty(seeds: int) -> str:
    """Fine-tuning at a rate that hurts, without and with the squared distance to the original weights."""
    lab = open_lab(DIGITS, "random:0.1")
    rows = [["original", "-", *accuracies([DIGITS.original(seed) for seed in range(seeds)], lab)]]
    rows.append(["oracle", "-", *accuracies(lab.oracles, lab)])
    for weight in (0.0, *LAMBDAS):
        method = FineTuneL2(l2_to_init=weight) if weight else FineTune()
        name = f"fine-tune, lambda {weight:g}" if weight else "fine-tune"
        known = PUBLISHED_PENALTY if weight else PUBLISHED_FINE_TUNE
        rows.append([name, known, *accuracies(tuned(method, lab, seeds), lab)])
    return table(("", "published: test", "ours: test", "retain", "forget"), rows)


def tuned(method: Method, lab: Lab, seeds: int) -> list[NetworkDomain]:
    """Originals of several seeds after the method."""
    steps = steps_of(len(lab.splits.retain or ()), BATCH, EPOCHS)
    return [
        unlearned(DIGITS.original(seed), method, lab.splits, training(RATE, steps, BATCH), seed=seed)[0]
        for seed in range(seeds)
    ]


def accuracies(models: Sequence[NetworkDomain], lab: Lab) -> list[str]:
    """Accuracy on test, retain and forget over seeds."""
    sides: tuple[Sequence[Item], ...] = (lab.test, lab.splits.retain or (), lab.splits.forget)
    return [percent([score(model, items) for model in models]) for items in sides]


def membership() -> str:
    """Area under the curve of the loss attack on original and oracles, by its non-members."""
    lab = open_lab(DIGITS, "class:3")
    splits = replace(lab.splits, context=AttackContext(test=lab.test))
    rows = []
    kinds: tuple[Literal["matched", "test"], ...] = ("test", "matched")
    for name, models in (("original", [lab.original]), ("oracle", lab.oracles)):
        areas = [[area(model, splits, kind) for model in models] for kind in kinds]
        rows.append([name, *(over(values) for values in areas)])
    return table(("", "AUC, all test items", "AUC, test items of the class"), rows)


def area(model: NetworkDomain, splits: Splits, kind: Literal["matched", "test"]) -> float:
    """Area under the ROC curve."""
    return MatchedMembership(nonmembers=kind).attack(model, splits, "model", Beside())[0].value or 0.0


def adversarial(seeds: int) -> str:
    """How far fine-tuning stays from the oracle, by how the forget set was chosen."""
    rows = []
    for request in FORGET_SETS:
        lab = open_lab(DIGITS, request)
        models = tuned(FineTune(), lab, seeds)
        forget, test = lab.splits.forget, lab.test
        oracle = sum(score(model, forget) for model in lab.oracles) / len(lab.oracles)
        columns = (
            [score(DIGITS.original(seed), forget) for seed in range(seeds)],
            [score(model, forget) for model in lab.oracles],
            [score(model, forget) for model in models],
            [score(model, test) for model in models],
        )
        gaps = [score(model, forget) - oracle for model in models]
        rows.append([request, *(percent(column) for column in columns), over(gaps, 1, 100.0)])
    header = (
        "forget set",
        "original: forget",
        "oracle: forget",
        "fine-tune: forget",
        "fine-tune: test",
        "gap to oracle on forget",
    )
    return table(header, rows)
