"""Anamnesis Index: how fast a network relearns what it has forgotten, against how fast an oracle learns it.

    AIN = r(f) / r(f_g)        r: updates until the forget set is known as well as by the original, up to a margin

1 is a network that learns like an oracle; less than 1 says that something was left, more than 1 that the forget set has
become harder to learn than what was never seen.

Source: Chundawat, Tarun, Mandal, Kankanhalli, "Zero-Shot Machine Unlearning" (TIFS 2023), section 6; for regression
Tarun, Chundawat, Mandal, Kankanhalli, "Deep Regression Unlearning" (ICML 2023).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass
from typing_extensions import override

from genunlearn.attacks.network.base import AttackContext
from genunlearn.attacks.network.relearning import Course, Relearning, Yardstick, relearn
from genunlearn.contracts import ORACLE, STRICT, Beside, Splits, within
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.ops.intervals import over_seeds
from genunlearn.records import Result

Time = int | None
"""Updates or passes until the goal is reached; None for a network that has not reached it within the cap."""

Ends = tuple[float | None, float | None, float | None]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class AnamnesisIndex(Relearning):
    """How fast the network relearns beside an oracle, with the times behind it; the results' group is ``unit/data``.

    A network that has not relearnt within the cap is censored: its time has a lower end but no value, and the index
    the ends that follow from it. The index is the mean over oracles.

    The defaults are the authors' settings for classifiers (they relearn regressors at 0.01) but for the count: here a
    network that needs no update counts 0, so that a forget set which oracles know anyway has no index, and what is
    censored is called so. ``count = "authors"`` starts at 1, since their code looks only after an update, and takes the
    cap for the time. ERASURE's index has ``unit = "epoch"``, ``data = "forget"``, ``offset = 0.01``.
    """

    name: ClassVar[str] = "anamnesis_index"

    unit: Annotated[Literal["step", "epoch"], Field(description="look and count after updates, or passes")] = "step"
    margin: Annotated[float, Field(ge=0, lt=1, description="alpha: how far from the original is near enough")] = 0.05
    max_epochs: Annotated[int, Field(ge=1, description="cap: passes over the data at most")] = 10
    count: Annotated[Literal["exact", "authors"], Field(description="see the class")] = "exact"
    offset: Annotated[float, Field(ge=0, description="added to both times of the ratio")] = 0.0

    @property
    @override
    def budget(self) -> str:
        data = "the full training set" if self.data == "train" else "the forget set"
        return (
            f"at most {self.max_epochs} passes over {data}, Adam {self.learning_rate:g}, batches of {self.batch_size}; "
            f"measured on {self.measured_on} items after every {self.unit}, margin {self.margin:g}"
        )

    def lacking(self, model: NetworkDomain, splits: Splits[AttackContext], beside: Beside[NetworkDomain]) -> str | None:
        """The original sets the goal; the rest as for all that relearn."""
        if beside.original is None:
            return "needs the original, which sets the goal"
        return super().lacking(model, splits, beside)

    def attack(
        self, model: NetworkDomain, splits: Splits[AttackContext], target: str, beside: Beside[NetworkDomain]
    ) -> list[Result]:
        """Relearning time of the network, and the index."""
        known = self._oracle_times(splits, beside)
        own = known[id(model)] if id(model) in known else self._time(model, splits, beside)
        others = [time for one, time in known.items() if one != id(model)]
        cap, number = self._cap(splits), len(self.measured(splits))
        return [self._times(target, [own], cap, number), self._index(target, own, others, cap, number)]

    def control(self, splits: Splits[AttackContext], beside: Beside[NetworkDomain]) -> list[Result]:
        """Relearning times of the oracles; there is no index without a network to compare with them."""
        if not beside.oracles or self.lacking(beside.oracles[0], splits, beside):
            return super().control(splits, beside)
        times = list(self._oracle_times(splits, beside).values())
        return [self._times(ORACLE, times, self._cap(splits), len(self.measured(splits)))]

    def _oracle_times(self, splits: Splits[AttackContext], beside: Beside[NetworkDomain]) -> dict[int, Time]:
        return {
            id(one): beside.once((self, id(one)), partial(self._time, one, splits, beside)) for one in beside.oracles
        }

    def _time(self, model: NetworkDomain, splits: Splits[AttackContext], beside: Beside[NetworkDomain]) -> Time:
        assert beside.original is not None  # see `lacking`
        return self.time(model, beside.original, splits)

    def time(self, model: NetworkDomain, original: NetworkDomain, splits: Splits) -> Time:
        """How long a copy of `model` takes to know the forget set as `original` does."""
        yardstick = Yardstick(model, self.measured(splits))
        goal, (course, every) = yardstick.goal(original, self.margin), self._plan(splits)
        marks = range(every if self.count == "authors" else 0, course.steps + 1, every)
        seen = relearn(model, course, yardstick, marks, lambda values: yardstick.is_reached(values, goal))
        last = max(seen)
        return last // every if yardstick.is_reached(seen[last], goal) else self._censored(course.steps // every)

    def _censored(self, cap: int) -> Time:
        return cap if self.count == "authors" else None

    def _plan(self, splits: Splits) -> tuple[Course, int]:
        """The course, and after how many updates it is looked at."""
        items = self.taught(splits)
        epoch = self.course(items, 0).epoch
        return self.course(items, self.max_epochs * epoch), epoch if self.unit == "epoch" else 1

    def _cap(self, splits: Splits) -> int:
        course, every = self._plan(splits)
        return course.steps // every

    def _times(self, target: str, times: Sequence[Time], cap: int, number: int) -> Result:
        named = {"name": "relearning_time", "group": f"{self.unit}/{self.data}"}
        reached = [float(time) for time in times if time is not None]
        if len(reached) == len(times):
            return self.result(target, within(over_seeds(reached), 0.0, math.inf), number, **named)
        who = f"{len(times) - len(reached)} of {len(times)} oracles" if target == ORACLE else "the network"
        reason = f"{who} not within the cap of {cap} {self.unit}s"
        return self.skip(target, reason, low=float(cap) if not reached else None, n=number, **named)

    def _index(self, target: str, own: Time, others: Sequence[Time], cap: int, number: int) -> Result:
        group = f"{self.unit}/{self.data}"
        if not others:
            return self.skip(target, "needs an oracle to compare with", group=group)
        if self.offset == 0 and 0 in others:
            return self.skip(target, "an oracle knows the forget set without relearning: no ratio", group=group)
        value, low, high = anamnesis_index(own, others, cap=cap, offset=self.offset)
        if value is not None:
            return self.result(target, (value, low, high), number, group=group)
        late = [who for who, is_late in (("the network", own is None), ("an oracle", None in others)) if is_late]
        reason = f"{' and '.join(late)} not within the cap of {cap} {self.unit}s"
        return self.skip(target, reason, low=low, high=high, n=number, group=group)


def anamnesis_index(own: Time, others: Sequence[Time], *, cap: int, offset: float = 0.0) -> Ends:
    """The index from relearning times: the mean over oracles of the ratio, with a t-interval over them.

    Args:
        own: Time of the network.
        others: Times of the oracles, at least one; none is 0 where `offset` is.
        cap: Time at which those were given up that have none.
        offset: Added to every time.

    Returns:
        ``(value, low, high)``. With a censored time there is no value: the index is at least ``low`` if the network is
        the one that was given up, at most ``high`` if oracles are, and anything if both.
    """
    numerator = (cap if own is None else own) + offset
    ratios = [numerator / ((cap if time is None else time) + offset) for time in others]
    value, low, high = within(over_seeds(ratios), 0.0, math.inf)
    if own is not None and None not in others:
        return value, low, high
    return None, None if None in others else value, None if own is None else value
