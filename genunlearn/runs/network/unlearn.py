"""Unlearning on any classifier or regressor from Python: a module in, the same module out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from torch import nn

from genunlearn.config import MethodConfig, ParametersConfig, TrainConfig
from genunlearn.data.network.items import as_splits
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.domains.network.classifier import Classifier, Regressor
from genunlearn.engine.journal import FileJournal
from genunlearn.engine.trainer import Trainer
from genunlearn.runs.methods import build_method
from genunlearn.runs.unlearning import carry_out

Module = TypeVar("Module", bound=nn.Module)

DEFAULTS = TrainConfig(learning_rate=1e-3, batch_size=64, max_steps=100)


def unlearn(
    model: Module | NetworkDomain,
    *,
    forget: Any,
    retain: Any = None,
    method: str | Mapping[str, Any] = "bad_teaching",
    train: TrainConfig = DEFAULTS,
    seed: int = 0,
) -> nn.Module:
    """Make a network forget examples, in place.

    Args:
        model: Any ``nn.Module`` with one output for each class (or, with floating-point targets, for each number), or
            an adapter from `genunlearn.domains.network.classifier` where the defaults do not fit.
        forget: What is to be forgotten: ``(inputs, targets)`` tensors, a dataset or a table.
        retain: What must stay, in the same forms; some methods do without.
        method: Name of a method (``genunlearn ls methods``), or a mapping with its ``name`` and hyper-parameters.
        train: Learning rate, batch size and number of steps, for methods that train.
        seed: Seed of everything random.

    Returns:
        The same module, in evaluation mode.

    Raises:
        DataError: The examples cannot be used.
        NeedNotMet: The method does not fit this kind of network, or needs retain data that is not given.
        RunError: Training failed.

    Example:
        >>> genunlearn.unlearn(network, forget=(x[y == 3], y[y == 3]), retain=(x[y != 3], y[y != 3]), method="ssd")
    """
    given = {"name": method} if isinstance(method, str) else dict(method)
    chosen = build_method(MethodConfig.model_validate(given), seed=seed)
    encode = model.encode if isinstance(model, NetworkDomain) and model.processor is not None else None
    splits = as_splits(forget, retain, encode=encode)
    domain = model if isinstance(model, NetworkDomain) else _wrap(model, splits.forget[0].target.is_floating_point())
    chosen.check(type(domain), retain=retain is not None)
    domain.check([*splits.forget, *(splits.retain or ())])
    trainer = Trainer(domain, train, ParametersConfig(kind="full"), seed=seed)
    carry_out(chosen, trainer, splits, FileJournal(None), seed=seed)
    return domain.network.eval()


def _wrap(module: nn.Module, is_regression: bool) -> NetworkDomain:
    return Regressor(module) if is_regression else Classifier(module)
