"""Blindspot unlearning (Tarun et al., ICML 2023): a range of target values is forgotten by a regressor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from markdown_blocks import table

from genunlearn.attacks.network.anamnesis import AnamnesisIndex, anamnesis_index
from genunlearn.attacks.network.base import AttackContext
from genunlearn.attacks.network.membership import LossMembership
from genunlearn.contracts import Beside, Method, Splits
from genunlearn.data.network.items import Item
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.evaluation.network.metrics import Wasserstein
from genunlearn.evaluation.network.predictions import Predictions
from genunlearn.lab.network.regression import DEFAULT_REQUESTS, STUDIES
from genunlearn.lab.network.study import Lab, open_lab
from genunlearn.methods.general.fine_tune import FineTune
from genunlearn.methods.network.blindspot import Blindspot
from genunlearn.methods.network.gaussian_amnesiac import GaussianAmnesiac
from seed_papers.carrying import steps_of, training, unlearned
from seed_papers.cells import over

PUBLISHED = {
    "original": ("9.33", "12.77", "2.993", "0.5925", "-"),
    "oracle": ("11.38", "24.31", "0", "0.3005", "1"),
    "fine-tune": ("9.79", "14.83", "1.619", "0.4285", "0.0066"),
    "Gaussian-amnesiac": ("9.81", "17.07", "2.331", "0.4965", "0.0096"),
    "blindspot": ("9.98", "21.63", "1.153", "0.4030", "0.333"),
}
"""AllCNN on AgeDB, ages up to 30, mean absolute error in years: the authors' notebook."""
BATCH, RATE = 32, 1e-3
METHODS: dict[str, tuple[Method, float]] = {
    "fine-tune": (FineTune(), 5.0),
    "Gaussian-amnesiac": (GaussianAmnesiac(), 1.0),
    "blindspot": (Blindspot(blindspot_batch=BATCH), 1.0),
}
"""Method and its epochs."""
INDEX = AnamnesisIndex(batch_size=BATCH, learning_rate=0.01)
HEADER = ("", "published: retain", "forget", "W1", "MIA", "AIN", "ours: retain", "forget", "W1", "MIA", "AIN")


@dataclass
class Column:
    """What was measured of one row, over seeds."""

    retain: list[float] = field(default_factory=list)
    forget: list[float] = field(default_factory=list)
    wasserstein: list[float] = field(default_factory=list)
    membership: list[float] = field(default_factory=list)
    relearning: list[int | None] = field(default_factory=list)


def run(seeds: int) -> str:
    """One table for each of the two regression labs."""
    return "\n\n".join(f"**lab:{name}, {request}**\n\n{one_lab(name, request, seeds)}" for name, request in
                       DEFAULT_REQUESTS.items())  # fmt: skip


def one_lab(name: str, request: str, seeds: int) -> str:
    """The table of one lab."""
    study, lab = STUDIES[name], open_lab(STUDIES[name], request)
    gone = list(lab.splits.holdout or ())
    names = {item.id for item in gone}
    kept = [item for item in lab.test if item.id not in names]
    columns = {row: Column() for row in PUBLISHED}

    def measure(row: str, model: NetworkDomain, original: NetworkDomain) -> None:
        note(columns[row], model, original, lab, (kept, gone))

    for oracle in lab.oracles:
        measure("oracle", oracle, lab.original)
    for seed in range(seeds):
        original = study.original(seed)
        measure("original", original, original)
        for row, (method, epochs) in METHODS.items():
            steps = steps_of(len(lab.splits.retain or ()), BATCH, epochs)
            model, _ = unlearned(original, method, lab.splits, training(RATE, steps, BATCH), seed=seed)
            measure(row, model, original)
    oracles = columns["oracle"].relearning
    return table(HEADER, [[row, *PUBLISHED[row], *cells(columns[row], oracles)] for row in PUBLISHED])


def note(
    column: Column, model: NetworkDomain, original: NetworkDomain, lab: Lab, test: tuple[Sequence[Item], Sequence[Item]]
) -> None:
    """Measure one network."""
    kept, gone = test
    oracles = [Predictions(oracle, {"forget": lab.splits.forget}) for oracle in lab.oracles]
    probes = Predictions(model, {"kept": kept, "gone": gone, "forget": lab.splits.forget}, oracles=oracles)
    column.retain.append(float(probes.absolute_errors("kept").mean()))
    column.forget.append(float(probes.absolute_errors("gone").mean()))
    column.wasserstein.append(Wasserstein().estimate(probes, "forget")[0])
    splits = Splits(
        forget=lab.splits.forget,
        retain=lab.splits.retain,
        holdout=lab.splits.holdout,
        context=AttackContext(test=lab.test),
    )
    column.membership.append(LossMembership().attack(model, splits, "model", Beside())[0].value or 0.0)
    column.relearning.append(INDEX.time(model, original, splits))


def cells(column: Column, oracles: Sequence[int | None]) -> list[str]:
    """Over seeds; the index against the mean over oracles."""
    shown = [over(values) for values in (column.retain, column.forget, column.wasserstein)]
    return [*shown, over(column.membership, least=0.0, most=1.0), index(column.relearning, oracles)]


def index(times: Sequence[int | None], oracles: Sequence[int | None]) -> str:
    """The mean index over seeds; with how many were given up at the cap, where some were."""
    late = sum(time is None for time in (*times, *oracles))
    if late:
        return f"no ratio: {late} of {len(times) + len(oracles)} networks not within the cap"
    if 0 in oracles:
        return "no ratio: an oracle needs no update"
    return over([anamnesis_index(time, list(oracles), cap=0)[0] or 0.0 for time in times], 3, least=0.0)
