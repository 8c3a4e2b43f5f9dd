"""Carrying a method out on a network as a run does, and looking at it between its stages."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from genunlearn.config import ParametersConfig, TrainConfig
from genunlearn.contracts import Method, Objective, Splits
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.engine.journal import FileJournal
from genunlearn.engine.trainer import Trainer
from genunlearn.runs.unlearning import carry_out

Look = Callable[[NetworkDomain], Any]


class Watched(Trainer):
    """A trainer that looks at the network after every phase.

    Attributes:
        seen: What was seen, phase by phase.
    """

    def __init__(self, model: NetworkDomain, settings: TrainConfig, seed: int, look: Look) -> None:
        """All weights are trained."""
        super().__init__(model, settings, ParametersConfig(kind="full"), seed=seed)
        self._look = look
        self.seen: list[Any] = []

    def __call__(self, objective: Objective, splits: Splits, **options: Any) -> None:
        """Train, then look."""
        super().__call__(objective, splits, **options)
        assert isinstance(self.domain, NetworkDomain)
        self.seen.append(self._look(self.domain))


def copy_of(model: NetworkDomain) -> NetworkDomain:
    """The same network a second time, to be changed."""
    twin = copy.copy(model)
    twin.module = copy.deepcopy(model.network)
    return twin


def training(rate: float, steps: int, batch: int = 64) -> TrainConfig:
    """So many steps at a constant rate, gradients as they are."""
    return TrainConfig(learning_rate=rate, batch_size=batch, max_steps=steps, save_every=10**6, max_grad_norm=1e6)


def unlearned(
    model: NetworkDomain,
    method: Method,
    splits: Splits,
    train: TrainConfig,
    *,
    seed: int = 0,
    look: Look = lambda model: None,
) -> tuple[NetworkDomain, list[Any]]:
    """A copy of `model` after the method, and what `look` saw after every phase of training."""
    trainer = Watched(copy_of(model), train, seed, look)
    carry_out(method, trainer, splits, FileJournal(None), seed=seed)
    trainer.domain.module.eval()
    assert isinstance(trainer.domain, NetworkDomain)
    return trainer.domain, trainer.seen


def steps_of(items: int, batch: int, epochs: float) -> int:
    """Steps of so many epochs over so many items."""
    return max(1, round(epochs * items / batch))
