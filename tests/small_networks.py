"""Networks whose logits are a table, items to go with them, and training as a run does it."""

from typing import Any

import torch
from torch import nn

from genunlearn.config import ParametersConfig, TrainConfig
from genunlearn.contracts import Edit, Objective, Protocol, Splits, Terms
from genunlearn.data.network.items import Item, as_items
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.domains.network.classifier import Classifier
from genunlearn.engine.journal import FileJournal
from genunlearn.engine.trainer import Trainer
from genunlearn.lab.determinism import fixed_threads
from genunlearn.lab.network.study import Lab, score


def tabled(probabilities: list[list[float]]) -> Classifier:
    """A linear classifier that answers the i-th unit vector with the i-th row of probabilities."""
    layer = nn.Linear(len(probabilities), len(probabilities[0]), bias=False)
    layer.weight.data = torch.tensor(probabilities).log().T.contiguous()
    return Classifier(layer)


def unit_items(targets: list[int], size: int, start: int = 0) -> list[Item]:
    """Items of unit vectors from number `start` on, with these classes."""
    return as_items((torch.eye(size)[start : start + len(targets)], targets), prefix=f"from-{start}-")


def values(terms: Terms) -> dict[str, float]:
    """``coefficient * sum`` of every term."""
    return {name: term.coefficient * term.sum.item() for name, term in terms.items()}


def unlearn(
    model: NetworkDomain, method: Any, splits: Splits, *, rate: float = 1e-3, steps: int = 40, batch: int = 64
) -> Any:
    """Carry a method out as a run does; returns its report or outcome, None for an objective."""
    if isinstance(method, Edit):
        return method.apply(model, splits)
    settings = TrainConfig(learning_rate=rate, batch_size=batch, max_steps=steps, save_every=10**6)
    with fixed_threads():
        train = Trainer(model, settings, ParametersConfig(kind="full"), seed=0)
        if isinstance(method, Protocol):
            return method.run(train, model, splits, FileJournal(None))
        assert isinstance(method, Objective)
        train(method, method.prepare(splits, 0))
    return None


def kept_and_forgotten(lab: Lab) -> tuple[float, float]:
    """Scores on the test items of other kinds than the forget set's, and on those of its kind."""
    of_kind = {item.id for item in lab.splits.holdout}
    others = [item for item in lab.test if item.id not in of_kind]
    return score(lab.original, others), score(lab.original, lab.splits.holdout)
