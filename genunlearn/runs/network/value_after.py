"""What a forget set is worth to a model, before and after unlearning: 0 is a model that never had it.

    value of F to a model = U(model) - U(oracle),   an oracle being trained without F

on unseen items: all of them, and those of the forget set's kind where it is a class, a sub-class or a range.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from genunlearn.config import build_config
from genunlearn.config.network import NetworkConfig, NetworkValueConfig
from genunlearn.contracts import ORIGINAL, UNLEARNED
from genunlearn.data.network.items import Item, targets_of
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.engine.progress import Watch
from genunlearn.errors import MismatchError
from genunlearn.ops.intervals import mean as mean_with_interval
from genunlearn.records import COMPLETED, Result, read_record
from genunlearn.runs.network.request import (
    open_network,
    open_oracles,
    open_unlearned,
    read_request,
    why_no_oracle,
)
from genunlearn.runs.network.value_data import ValueData
from genunlearn.valuation.game import Floats, item_scores


def check_unlearned(folder: str) -> NetworkConfig:
    """The configuration of the run that unlearned.

    Raises:
        SourceNotFound: There is no run.
        MismatchError: It is none of a classifier or regressor, it has not ended, or nobody has an oracle for it.
    """
    record = read_record(folder)
    config = build_config(record.config) if record.config else None
    if not isinstance(config, NetworkConfig):
        raise MismatchError(f"--unlearned {folder}: not a run that unlearned in a classifier or regressor")
    if record.status != COMPLETED or not (Path(folder) / "model").is_dir():
        raise MismatchError(f"--unlearned {folder}: the run there has not ended, or left no model; finish it first")
    if reason := why_no_oracle(config, read_request(config)):
        raise MismatchError(f"--unlearned {folder}: without an oracle nothing tells what is left ({reason})")
    return config


def residual_values(config: NetworkValueConfig, data: ValueData, watch: Watch) -> list[Result]:
    """Value of the forget set to the original and to the unlearned model, with intervals over unseen items."""
    folder = str(config.request.unlearned)
    run = check_unlearned(folder)
    request = read_request(run)
    watch.announce(f"value of {request.name} after unlearning ({folder})")
    original = open_network(run, request)
    request = request.ask(original)
    measured = request.measured()
    groups = {"all unseen items": list(request.test), "unseen items of its kind": measured["test_forget"]}
    oracles = open_oracles(run, request)
    models = {ORIGINAL: original, UNLEARNED: open_unlearned(run, request, Path(folder) / "model")}
    results = []
    for group, items in groups.items():
        if not items:
            continue
        without = np.mean([_scores(one, items, config) for one in oracles], axis=0)
        for target, model in models.items():
            value, low, high = mean_with_interval((_scores(model, items, config) - without).tolist())
            found = Result(name="residual_value", target=target, value=value, low=low, high=high, n=len(items))
            results.append(Result(**{**vars(found), "group": f"{request.name}, {group}"}))
    return results


def _scores(model: NetworkDomain, items: Sequence[Item], config: NetworkValueConfig) -> Floats:
    outputs, targets = model.predict(items).double(), targets_of(items).numpy()
    is_class = not targets_of(items).is_floating_point()
    answers = (outputs.softmax(-1) if is_class else outputs[:, 0]).numpy()
    return item_scores(answers, targets, targets, config.evaluate.score if is_class else None)
