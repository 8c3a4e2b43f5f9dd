"""What attacks on classifiers and regressors share: the networks around a request, and the control.

An attack that succeeds on a network which never saw the forget set says nothing about unlearning, so every attack runs
on the oracles too, once for all the models that are compared.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeVar

from pydantic.dataclasses import dataclass as checked

from genunlearn.contracts import STRICT, Attack, Splits
from genunlearn.domains.network.base import LabelledItem, NetworkDomain
from genunlearn.ops.intervals import over_seeds
from genunlearn.records import Result

ORACLE = "oracle"

Estimate = tuple[float, float | None, float | None]
"""Value and ends of its interval, where it has one."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Company:
    """What is known besides the data of a request; it stands in ``Splits.context``.

    Attributes:
        test: Test items of every kind; ``Splits.holdout`` are those of the forget set's kind.
        original: The network before unlearning.
        oracles: Networks that were taught without the forget set: they are the control.
        references: Networks that saw neither the forget set nor the holdout, for RMIA; without any, the oracles serve.
    """

    test: Sequence[LabelledItem] = ()
    original: NetworkDomain | None = None
    oracles: tuple[NetworkDomain, ...] = ()
    references: tuple[NetworkDomain, ...] = ()
    _remembered: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def once(self, key: Hashable, compute: Callable[[], T]) -> T:
        """What `compute` gave when `key` was first asked for: oracles do not change from one model to the next."""
        if key not in self._remembered:
            self._remembered[key] = compute()
        return self._remembered[key]


def company_of(splits: Splits) -> Company:
    """The networks around a request; nobody where the caller gave none."""
    return splits.context if isinstance(splits.context, Company) else Company()


@checked(config=STRICT, frozen=True, kw_only=True)
class NetworkAttack(Attack):
    """An attack on a classifier or regressor, whose fields are its budget."""

    def result(self, target: str, value: Estimate, n: int, **fields: Any) -> Result:
        """A result of this attack; `fields` adds a group or another name."""
        middle, low, high = value
        named = {"name": self.name, "version": self.version, **fields}
        return Result(target=target, value=middle, low=low, high=high, n=n, **named)

    def skip(self, target: str, reason: str, **fields: Any) -> Result:
        """The result where there is no value."""
        named = {"name": self.name, "version": self.version, **fields}
        return Result(target=target, value=None, skipped=reason, **named)

    def misfit(self, model: NetworkDomain) -> str:
        """Why it cannot run on a model of another domain."""
        return f"for {' and '.join(sorted(self.domains))}, not for {model.name}"


@checked(config=STRICT, frozen=True, kw_only=True)
class ControlledAttack(NetworkAttack):
    """An attack that gives the same results for the oracles, as its control."""

    bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)
    """What values lie between; the control's interval is cut there."""

    @abc.abstractmethod
    def attack(self, model: NetworkDomain, splits: Splits, target: str) -> list[Result]:
        """Attack one network, which is left as it was."""

    def run(self, model: NetworkDomain, splits: Splits, target: str) -> list[Result]:
        """Results for `model` and, as target ``oracle``, for the oracles: their mean, with a t-interval over them."""
        if model.name not in self.domains:
            return [self.skip(target, self.misfit(model))]
        company = company_of(splits)
        results = self.attack(model, splits, target)
        if target == ORACLE or not company.oracles:
            return results
        return results + company.once(self, lambda: self._control(company.oracles, splits))

    def _control(self, oracles: Sequence[NetworkDomain], splits: Splits) -> list[Result]:
        runs = [self.attack(oracle, splits, ORACLE) for oracle in oracles]
        return [self._pool(column) for column in zip(*runs, strict=True)]

    def _pool(self, column: Sequence[Result]) -> Result:
        values = [result.value for result in column if result.value is not None]
        if len(column) == 1 or len(values) < len(column):
            return next((result for result in column if result.value is None), column[0])
        value, low, high = within(over_seeds(values), *self.bounds)
        return replace(column[0], value=value, low=low, high=high)


def within(estimate: Estimate, least: float, most: float) -> Estimate:
    """The same with its interval cut to the range from `least` to `most`."""
    value, low, high = estimate
    return value, None if low is None else max(least, low), None if high is None else min(most, high)
