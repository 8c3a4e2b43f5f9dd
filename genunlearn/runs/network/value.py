"""Valuation from Python: what each training item is worth to any classifier, regressor or scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import index
from typing import Any, get_args

import numpy as np
from torch import nn

from genunlearn.config import MethodConfig
from genunlearn.data.network.items import Item, as_items
from genunlearn.data.rows import shown
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.domains.network.classifier import Classifier, Regressor
from genunlearn.domains.network.fitting import FitConfig, fit
from genunlearn.engine.journal import FileJournal
from genunlearn.errors import DataError
from genunlearn.runs.methods import build_valuation
from genunlearn.runs.network.value_learner import NetworkLearner
from genunlearn.valuation.base import Valuer, Values
from genunlearn.valuation.estimators import EstimatorLearner
from genunlearn.valuation.game import Game, Learner, Score

DEFAULT_FIT = FitConfig(epochs=20, learning_rate=1e-2)


def value(
    learner: Any,
    train: Any,
    valid: Any,
    *,
    method: str | Mapping[str, Any] = "ecoval_style",
    players: Sequence[Sequence[int]] | None = None,
    score: Score = "probability",
    fitting: FitConfig = DEFAULT_FIT,
) -> Values:
    """What training items, or groups of them, are worth to a learner.

    Args:
        learner: A scikit-learn estimator, an ``nn.Module`` or an adapter of `genunlearn.domains.network.classifier`.
            Estimators are cloned, and networks taught anew from fresh weights; the learner itself stays as it is.
        train: ``(inputs, targets)``, for a network also a dataset or a table.
        valid: Items that are not learnt from, in the same form: values are for scores on them.
        method: Name of a method (``genunlearn ls valuations``), or a mapping with its ``name`` and hyper-parameters.
        players: Row numbers of each group that is valued as a whole; by default every item is a player.
        score: ``probability`` of the right class, or ``accuracy``; regressors have one score.
        fitting: How a network is taught.

    Returns:
        The values; ``result.values[i]`` is that of the player i.

    Raises:
        DataError: The items cannot be used.
        NeedNotMet: The method does not fit the learner.

    Example:
        >>> result = genunlearn.value(LogisticRegression(), (x, y), (x_valid, y_valid), method="knn_shapley")
    """
    if score not in get_args(Score):
        raise DataError(f"score = {score!r}: take one of {', '.join(get_args(Score))}")
    given = {"name": method} if isinstance(method, str) else dict(method)
    valuer: Valuer = build_valuation(MethodConfig.model_validate(given))
    wrapped = _wrap(learner, train, valid, fitting)
    valuer.check(wrapped.classes)
    return valuer.value(Game(wrapped, FileJournal(None), players=_players(players, wrapped), score=score))


def _players(players: Sequence[Sequence[int]] | None, learner: Learner) -> list[np.ndarray] | None:
    if players is None:
        return None
    count = len(learner.targets)
    try:
        groups = [np.asarray([index(row) for row in rows], dtype=np.int64) for rows in players]
    except TypeError:
        raise DataError(f"players = {shown(players)}: give a list of row numbers for each, as [[0, 1], [2]]") from None
    rows = np.concatenate(groups) if groups else np.zeros(0, dtype=np.int64)
    if not all(map(len, groups)) or not len(rows) or rows.min() < 0 or rows.max() >= count:
        raise DataError(f"players: give at least one, each with row numbers from 0 to {count - 1}")
    if len(np.unique(rows)) != len(rows):
        raise DataError("players share a row: every item belongs to one player")
    return groups


def _wrap(learner: Any, train: Any, valid: Any, fitting: FitConfig) -> Learner:
    if isinstance(learner, nn.Module | NetworkDomain):
        encode = learner.encode if isinstance(learner, NetworkDomain) and learner.processor is not None else None
        items, others = as_items(train, encode=encode), as_items(valid, encode=encode, prefix="valid-")
        domain = learner if isinstance(learner, NetworkDomain) else _domain(learner, items)
        domain.check([*items, *others])

        def teach(rows: Sequence[Item]) -> NetworkDomain:
            fresh = domain.fresh(0)
            fit(fresh, rows, fitting, seed=0)
            return fresh

        return NetworkLearner(teach, items, others)
    is_instance = not isinstance(learner, type)
    if not (is_instance and callable(getattr(learner, "fit", None)) and callable(getattr(learner, "predict", None))):
        told = type(learner).__name__ if is_instance else f"the class {learner.__name__}"
        raise DataError(f"learner = {told}: give a scikit-learn estimator or an nn.Module")
    return EstimatorLearner(learner, tuple(train), tuple(valid))


def _domain(module: nn.Module, items: Sequence[Item]) -> NetworkDomain:
    return Regressor(module) if items[0].target.is_floating_point() else Classifier(module)
