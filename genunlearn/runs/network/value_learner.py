"""Learners of a valuation: an estimator of scikit-learn, or a network that is taught from fresh weights each time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from genunlearn.config.network import NetworkValueConfig
from genunlearn.data.network.items import Item, targets_of
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.domains.network.fitting import FitConfig, fit
from genunlearn.domains.sources import resolve_folder
from genunlearn.errors import DataError
from genunlearn.registry import DOMAINS, LAB
from genunlearn.runs.network.value_data import BUNDLED, ValueData, study_behind
from genunlearn.valuation.estimators import EstimatorLearner, estimator
from genunlearn.valuation.game import Floats, Learner, Rows

Teach = Callable[[Sequence[Item]], NetworkDomain]
"""Makes a network from fresh weights, taught some items."""


class NetworkLearner:
    """A network on labelled items; its embedding is what enters the last linear layer after it has learnt them all.

    Attributes:
        targets: Of the training items.
        valid_targets: Of the validation items.
        classes: Outputs of a classifier; 0 for a regressor.
    """

    def __init__(self, teach: Teach, train: Sequence[Item], valid: Sequence[Item]) -> None:
        """Take items, whose targets must be single; nothing is taught yet."""
        self._teach, self._train, self._valid = teach, train, valid
        targets, others = targets_of(train), targets_of(valid)
        if targets.dim() != 1:
            raise DataError(f"targets of {targets.shape[1]} numbers: a valuation takes one for each item")
        self.targets, self.valid_targets = targets.numpy(), others.numpy()
        self.classes = 0 if targets.is_floating_point() else int(max(targets.max(), others.max())) + 1

    def embed(self) -> tuple[Floats, Floats]:
        """What enters the last linear layer, standardised; one teaching."""
        taught = self._teach(self._train)
        train, valid = (_penultimate(taught, items) for items in (self._train, self._valid))
        spread = train.std(0)
        spread[spread == 0] = 1.0
        return (train - train.mean(0)) / spread, (valid - train.mean(0)) / spread

    def answer(self, rows: Rows, asked: Rows, *, with_valid: bool = False) -> tuple[Floats, Floats]:
        """Teach fresh weights."""
        taught = self._teach([*(self._train[row] for row in rows), *(self._valid if with_valid else ())])
        return self._ask(taught, self._valid), self._ask(taught, [self._train[row] for row in asked])

    def _ask(self, taught: NetworkDomain, items: Sequence[Item]) -> Floats:
        if not items:
            return np.zeros((0, self.classes) if self.classes else 0)
        outputs = taught.predict(items).double()
        return (outputs.softmax(-1)[:, : self.classes] if self.classes else outputs[:, 0]).numpy()


def _penultimate(taught: NetworkDomain, items: Sequence[Item]) -> Floats:
    """What enters the last linear layer, ``(items, d)``."""
    layers = [part for part in taught.network.modules() if isinstance(part, nn.Linear)]
    if not layers:
        raise DataError("a network without a linear layer has no embedding: take leave_one_out or a Shapley method")
    seen: list[Tensor] = []
    handle = layers[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().flatten(1)))
    try:
        taught.predict(items)
    finally:
        handle.remove()
    return torch.cat(seen).double().cpu().numpy()


def learner_of(config: NetworkValueConfig, data: ValueData, judged: Sequence[Item]) -> Learner:
    """What is taught, and scored on `judged`.

    Raises:
        NameNotFound: There is no such estimator or lab.
        DataError: The learner cannot read the items.
    """
    source = config.model.source
    if source.startswith(BUNDLED):
        made = estimator(source.removeprefix(BUNDLED), is_regression=data.is_regression)
        return EstimatorLearner(made, _arrays(data.train), _arrays(judged))
    return NetworkLearner(_teacher(config), data.train, judged)


def _teacher(config: NetworkValueConfig) -> Teach:
    """How a lab's network is taught by its study, and one from a folder by the section ``fit``."""
    source, seed = config.model.source, config.seed
    if source.startswith(LAB):
        study = study_behind(config, source)
        adapter, settings = study.adapter, study.settings
    else:
        kind: type[NetworkDomain] = DOMAINS.get(config.domain, "network")
        loaded = kind.load(str(resolve_folder(source, config.model.revision)), device=config.model.device)
        given = config.fit
        settings = FitConfig(
            epochs=given.epochs, learning_rate=given.learning_rate, batch_size=given.batch_size, warm_share=0.25
        )

        def adapter() -> NetworkDomain:
            return loaded.fresh(seed)

    def teach(items: Sequence[Item]) -> NetworkDomain:
        domain = adapter()
        domain.reinitialise(seed)
        fit(domain, items, settings, seed=seed)
        return domain

    return teach


def _arrays(items: Sequence[Item]) -> tuple[np.ndarray, np.ndarray]:
    """Inputs as a matrix, and targets.

    Raises:
        DataError: They are neither tensors of the same shape nor the columns of a table.
    """
    shapes = {tuple((name, tuple(part.shape)) for name, part in item.inputs.items()) for item in items}
    is_plain = all(name == "x" or not shape for each in shapes for name, shape in each)
    if len(shapes) != 1 or not is_plain:
        raise DataError(
            "items are no tables or pictures of one size, with the same columns in train and test: take a network "
            "instead of scikit-learn (--model)"
        )
    rows = [torch.cat([part.double().flatten() for part in item.inputs.values()]) for item in items]
    return torch.stack(rows).numpy(), targets_of(items).numpy()
