"""Looking at classifiers and regressors: a suite of metrics, attacks, the curve of a membership test; plain JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

import numpy as np
from pydantic import ValidationError

from genunlearn.config import ItemConfig, MethodConfig
from genunlearn.contracts import Attack, Splits
from genunlearn.data.network.items import Item
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.errors import ConfigError, MismatchError
from genunlearn.evaluation.network.metrics import measure
from genunlearn.evaluation.network.predictions import Predictions
from genunlearn.ops.intervals import over_seeds
from genunlearn.ops.membership import roc
from genunlearn.records import Result
from genunlearn.registry import ATTACKS, SUITES

USUAL_ATTACKS = ("mia_entropy", "mia_loss", "mia_matched", "relearning")
ORACLE = "oracle"
SHARES = ("accuracy", "tow", "zrf")
"""Metrics between 0 and 1, whose intervals over oracles are cut there."""
RATES = np.linspace(0, 1, 101)
"""False positive rates that a membership curve is kept at."""

Look = Mapping[str, Any]


def build_attacks(config: ItemConfig) -> tuple[Attack, ...]:
    """The attacks that a configuration asks for, or the usual ones of its domain.

    Raises:
        NameNotFound: There is no such attack.
        MismatchError: It is for another domain.
        ConfigError: Its budget is unknown, mistyped or out of bounds.
    """
    if config.evaluate.attacks is None:
        usual = [ATTACKS.get(name) for name in USUAL_ATTACKS]
        return tuple(kind() for kind in usual if config.domain in kind.domains)
    asked = (MethodConfig(name=one) if isinstance(one, str) else one for one in config.evaluate.attacks)
    return tuple(_build_attack(one, config.domain) for one in asked)


def _build_attack(config: MethodConfig, domain: str) -> Attack:
    kind = ATTACKS.get(config.name)
    if domain not in kind.domains:
        fits = ", ".join(sorted(kind.domains))
        raise MismatchError(f"evaluate.attacks: {config.name!r} does not fit domain {domain!r}: it fits {fits}")
    known = [field.name for field in fields(kind)]
    if unknown := [name for name in config.hyperparameters if name not in known]:
        raise ConfigError(f"evaluate.attacks: {config.name!r} has no {unknown[0]!r}; known: {', '.join(known)}")
    try:
        return kind(**config.hyperparameters)
    except ValidationError as error:
        problem = error.errors()[0]
        name, message = str(problem["loc"][0]), problem["msg"][0].lower() + problem["msg"][1:]
        raise ConfigError(f"evaluate.attacks: {config.name}.{name} = {problem['input']!r}: {message}") from None


class Observer:
    """Looks at one model after the other on the same data, with the same oracles beside them."""

    def __init__(
        self,
        config: ItemConfig,
        data: Mapping[str, Sequence[Item]],
        splits: Splits,
        oracles: Sequence[NetworkDomain],
    ) -> None:
        """Take the data by group and, for attacks, the request with its company; nothing is computed yet."""
        self._suite = SUITES.get(config.domain if config.evaluate.suite == "auto" else config.evaluate.suite)
        self._attacks, self._data, self._splits = build_attacks(config), data, splits
        self._batch_size = config.evaluate.batch_size
        self._oracles = [Predictions(one, data, batch_size=self._batch_size) for one in oracles]
        for oracle in self._oracles:
            oracle.oracles = tuple(self._oracles)

    def look(self, model: NetworkDomain, target: str) -> Look:
        """Results of the suite and of the attacks, and the membership curve."""
        seen = Predictions(model, self._data, oracles=self._oracles, batch_size=self._batch_size)
        results = measure(self._suite, seen, target)
        attacked = [result for attack in self._attacks for result in attack.run(model, self._splits, target)]
        controls = [asdict(result) for result in attacked if result.target == ORACLE]
        own = [asdict(result) for result in [*results, *attacked] if result.target == target]
        return {"results": own, "controls": controls, "roc": self._curve(model)}

    def look_at_oracles(self) -> Look:
        """The same of the oracles: means over them, with t-intervals; attacks bring theirs as controls."""
        runs = [measure(self._suite, oracle, ORACLE) for oracle in self._oracles]
        results = [asdict(pool(column)) for column in zip(*runs, strict=True)]
        curves = [curve for oracle in self._oracles if (curve := self._curve(oracle.model))]
        mean = np.mean(curves, axis=0).tolist() if curves else []
        return {"results": results, "controls": [], "roc": mean}

    def budgets(self) -> dict[str, str]:
        """What each attacker has and may do, by the attack's name."""
        return {attack.name: getattr(attack, "budget", "") for attack in self._attacks}

    def _curve(self, model: NetworkDomain) -> list[float]:
        """True positive rates at `RATES`, members being those with the smaller loss; empty without non-members."""
        others = self._splits.holdout
        if not others:
            return []
        members, outside = (-_losses(model, items, self._batch_size) for items in (self._splits.forget, others))
        rates, found = np.array(roc(members, outside)).T
        return [round(float(found[place]), 6) for place in np.searchsorted(rates, RATES, side="right") - 1]


def pool(column: Sequence[Result]) -> Result:
    """One result of several oracles: the mean, with its t-interval over them; skipped if one of them is."""
    if missing := next((result for result in column if result.value is None), None):
        return missing
    value, low, high = over_seeds([result.value for result in column if result.value is not None])
    if column[0].name in SHARES:
        low, high = None if low is None else max(0.0, low), None if high is None else min(1.0, high)
    return replace(column[0], value=value, low=low, high=high)


def _losses(model: NetworkDomain, items: Sequence[Item], batch_size: int) -> Any:
    import torch

    return model.loss_of(model.predict(items, batch_size), torch.stack([item.target for item in items]))
