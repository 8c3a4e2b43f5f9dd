"""Numbers about a model: metrics in suites, and attacks with a budget and a control."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from genunlearn.contracts.data import Splits
from genunlearn.contracts.methods import D
from genunlearn.ops.intervals import over_seeds
from genunlearn.records import Result

ORIGINAL, UNLEARNED, ORACLE = "original", "unlearned", "oracle"
"""Whom a result is about."""
DECOYS = "decoys"
"""Who stands in for an oracle: the unlearned model, attacked for things of the same shape that it cannot know."""

SURROGATES = ANCHOR, DECOY = "anchor", "decoy"
"""What stands in for an oracle where an audit has none: the original, asked for something else."""

T = TypeVar("T")

Estimate = tuple[float, float | None, float | None]
"""Value and ends of its interval, where it has one."""


class Metric(abc.ABC):
    """A number from probes."""

    name: ClassVar[str]
    version: ClassVar[int] = 1
    higher_is_better: ClassVar[bool | None] = None

    @abc.abstractmethod
    def measure(self, probes: Any, target: str) -> list[Result]:
        """Results for the model `target` from its cached probes."""


@dataclass(frozen=True)
class Suite:
    """A named list of metrics; the version rises when its members or their order change."""

    metrics: tuple[type[Metric], ...]
    version: int = 1

    def measure(self, probes: Any, target: str) -> list[Result]:
        """The results of every metric on one model's probes, in order."""
        return [result for metric in self.metrics for result in metric().measure(probes, target)]


class Beside(Generic[D]):
    """What stands beside a model that is measured or attacked; models are opened when they are first asked for.

    Attributes:
        why_no_oracle: Why there are no oracles, where there are none.
        folder: Folder of the run, for what is kept in files; None where nothing is.
        measured: Measurements so far by target, the original's first.
    """

    def __init__(
        self,
        original: Callable[[], D] | None = None,
        oracles: Callable[[], Sequence[D]] | None = None,
        *,
        why_no_oracle: str = "no oracle is given",
        folder: Path | None = None,
    ) -> None:
        """Take what opens the original, and the models that were taught without the forget set."""
        self._open_original, self._open_oracles = original, oracles
        self.why_no_oracle, self.folder = why_no_oracle, folder
        self.measured: dict[str, Mapping[str, Any]] = {}
        self._remembered: dict[Hashable, Any] = {}

    @cached_property
    def original(self) -> D | None:
        """The model before unlearning; None where nobody has given it."""
        return self._open_original() if self._open_original else None

    @cached_property
    def oracles(self) -> tuple[D, ...]:
        """Models that never saw what is to be forgotten: the control of every attack."""
        return tuple(self._open_oracles()) if self._open_oracles else ()

    def once(self, key: Hashable, compute: Callable[[], T]) -> T:
        """What `compute` gave when `key` was first asked for: oracles do not change from one model to the next."""
        if key not in self._remembered:
            self._remembered[key] = compute()
        return self._remembered[key]


class Attack(abc.ABC, Generic[D]):
    """A probe with a budget, held in its fields.

    An attack that succeeds on a model which never saw the forget set says nothing about unlearning, so each has a
    `control`: its results on the oracles, or the reason why there is none.
    """

    name: ClassVar[str]
    domains: ClassVar[frozenset[str]]
    version: ClassVar[int] = 1
    bounds: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    """What values lie between; the interval of the control over oracles is cut there."""

    @property
    @abc.abstractmethod
    def budget(self) -> str:
        """What the attacker has and may do, in words."""

    @property
    def is_idle(self) -> bool:
        """Whether its budget leaves it nothing to do beyond plain asking."""
        return False

    def carries_in(self, strength: str) -> bool:
        """Whether at this strength it brings the answer along itself: then only an oracle can be its control."""
        return False

    @abc.abstractmethod
    def attack(self, model: D, splits: Splits[Any], target: str, beside: Beside[D]) -> list[Result]:
        """Attack `model`, which is left as it was."""

    def lacking(self, model: D, splits: Splits[Any], beside: Beside[D]) -> str | None:
        """What the attack cannot do without and is not there; None where it can begin."""
        return None

    def run(self, model: D, splits: Splits[Any], target: str, beside: Beside[D] | None = None) -> list[Result]:
        """Results on one model, or one that says what is missing."""
        beside = beside or Beside()
        if model.name not in self.domains:
            return [self.skip(target, f"for {' and '.join(sorted(self.domains))}, not for {model.name}")]
        if reason := self.lacking(model, splits, beside):
            return [self.skip(target, reason)]
        return self.attack(model, splits, target, beside)

    def control(self, splits: Splits[Any], beside: Beside[D]) -> list[Result]:
        """Results on the oracles, target ``oracle``: their mean, with a t-interval over several."""
        if not beside.oracles:
            return [self.skip(ORACLE, f"no control: {beside.why_no_oracle}")]
        runs = [self.run(oracle, splits, ORACLE, beside) for oracle in beside.oracles]
        return [self._pool(column) for column in zip(*runs, strict=True)]

    def illustrate(self, model: D, splits: Splits[Any]) -> Mapping[str, Any]:
        """Images ``(n, channels, height, width)`` in [0, 1] for people to look at, by what they show; usually none."""
        return {}

    def result(self, target: str, value: Estimate, n: int, **fields: Any) -> Result:
        """A result of this attack; `fields` adds a group or another name."""
        middle, low, high = value
        named = {"name": self.name, "version": self.version, **fields}
        return Result(target=target, value=middle, low=low, high=high, n=n, **named)

    def skip(self, target: str, reason: str, **fields: Any) -> Result:
        """The result where there is no value."""
        named = {"name": self.name, "version": self.version, **fields}
        return Result(target=target, value=None, skipped=reason, **named)

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
