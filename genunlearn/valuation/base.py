"""What a valuation method is: a frozen dataclass whose fields are its hyper-parameters, and what it returns."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from genunlearn.errors import NeedNotMet
from genunlearn.valuation.game import Floats, Game, Rows


@dataclass(frozen=True, kw_only=True)
class Values:
    """What the players of a game are worth.

    Attributes:
        values: ``(players,)``, in units of the game's score unless the method says otherwise.
        low: Lower ends of 95% intervals over what the method draws; None where it draws nothing.
        high: Upper ends.
        groups: By name, a number for each training item: the clusters that the method made.
        parts: By name, addends of the values of training items, ``(items,)``.
        notes: What else it found, by name.
    """

    values: Floats
    low: Floats | None = None
    high: Floats | None = None
    groups: Mapping[str, Rows] = field(default_factory=dict)
    parts: Mapping[str, Floats] = field(default_factory=dict)
    notes: Mapping[str, float] = field(default_factory=dict)


class Valuer(abc.ABC):
    """A way to share among players what they earn together."""

    name: ClassVar[str]
    paper: ClassVar[str] = ""
    equation: ClassVar[str] = ""
    needs_classes: ClassVar[bool] = False
    is_utility: ClassVar[bool] = True
    """Whether values are in units of the game's score, so that they say what forgetting costs."""

    def check(self, classes: int) -> None:
        """Refuse a learner that the method cannot value for.

        Raises:
            NeedNotMet: It needs classes, and the targets are numbers.
        """
        if self.needs_classes and not classes:
            raise NeedNotMet(f"valuation {self.name!r} needs classes, and the targets are numbers: take ecoval_style")

    @abc.abstractmethod
    def value(self, game: Game) -> Values:
        """The worth of each player."""


def mean_with_interval(draws: Floats) -> Values:
    """Means over draws ``(draws, players)`` with their t-intervals; a single draw has none."""
    from scipy.stats import t

    count = len(draws)
    mean = draws.mean(0)
    if count < 2:
        return Values(values=mean)
    half = t.ppf(0.975, count - 1) * draws.std(0, ddof=1) / np.sqrt(count)
    return Values(values=mean, low=mean - half, high=mean + half)
