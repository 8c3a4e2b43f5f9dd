"""Relearning: a network is taught again what it has forgotten, and looked at on the way.

Every update is made on a copy: the caller's network stays as it is. An oracle that is taught the same shows how fast
what was never seen is learnt.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass as record
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor
from typing_extensions import override

from genunlearn.attacks.network.base import AttackContext
from genunlearn.contracts import STRICT, Attack, Beside, Splits
from genunlearn.domains.network.base import LabelledItem, NetworkDomain
from genunlearn.ops.intervals import mean, share
from genunlearn.records import Result

LOOK = 256
"""Items in one pass when a network is looked at."""

Data = Literal["train", "forget"]
MeasuredOn = Literal["holdout", "forget"]


@record(frozen=True, kw_only=True)
class Course:
    """How a copy of a network is taught.

    Attributes:
        items: What it is taught.
        steps: Updates at most.
        batch_size: Items an update; a last batch of one item is left out where BatchNorm could not learn from it.
        learning_rate: Of Adam.
        learns_statistics: Whether BatchNorm's running statistics move.
        seed: Decides the order of the items and dropout.
    """

    items: Sequence[LabelledItem]
    steps: int
    batch_size: int
    learning_rate: float
    learns_statistics: bool
    seed: int

    @property
    def epoch(self) -> int:
        """Updates of one pass over the items."""
        size, count = min(self.batch_size, len(self.items)), len(self.items)
        return max(1, count // size if count % size == 1 else math.ceil(count / size))

    def batches(self) -> Iterator[list[LabelledItem]]:
        """Batches of pass after pass, without end; draws from torch's global generator."""
        while True:
            rows = torch.randperm(len(self.items)).tolist()
            size = min(self.batch_size, len(rows))
            for number in range(self.epoch):
                yield [self.items[row] for row in rows[number * size : (number + 1) * size]]


class Yardstick:
    """How well a network knows some items: hits of a classifier, losses of a regressor, one value an item."""

    def __init__(self, model: NetworkDomain, items: Sequence[LabelledItem]) -> None:
        """`model`: any network of the kind to be looked at."""
        self.is_accuracy = model.name != "regression"
        self.batches = [model.collate(items[i : i + LOOK]) for i in range(0, len(items), LOOK)]

    def look(self, model: NetworkDomain) -> Tensor:
        """Values of all items in evaluation mode, ``(items,)`` in double precision."""
        with model.inference(), torch.no_grad():
            if self.is_accuracy:
                parts = [model.output_logits(batch).argmax(1) == batch["target"] for batch in self.batches]
            else:
                parts = [model.example_loss(batch) for batch in self.batches]
        return torch.cat(parts).double().cpu()

    def goal(self, original: NetworkDomain, margin: float) -> float:
        """The level of the original, less (or for losses, more) `margin` of it."""
        level = float(self.look(original).mean())
        return level * (1 - margin if self.is_accuracy else 1 + margin)

    def is_reached(self, values: Tensor, goal: float) -> bool:
        """Whether the mean of `values` is as good as `goal`."""
        level = float(values.mean())
        return level >= goal if self.is_accuracy else level <= goal


def relearn(
    model: NetworkDomain,
    course: Course,
    yardstick: Yardstick,
    marks: Collection[int],
    is_enough: Callable[[Tensor], bool] = lambda values: False,
) -> dict[int, Tensor]:
    """Teach a copy of a network and look at it on the way.

    Args:
        model: The network; neither it nor the caller's random state is changed.
        course: What is taught, and how.
        yardstick: What is looked at.
        marks: Numbers of updates after which it is looked at, 0 for before the first.
        is_enough: Ends the course when it is true of what was seen.

    Returns:
        The yardstick's values by number of updates, in order.
    """
    student = copy.copy(model)
    student.module = copy.deepcopy(model.network).requires_grad_(True)
    student.learns_statistics = course.learns_statistics
    optimizer = torch.optim.Adam(student.module.parameters(), lr=course.learning_rate)
    seen: dict[int, Tensor] = {}
    with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(course.seed)
        batches = course.batches()
        for step in range(course.steps + 1):
            if step:
                student.module.train()
                loss = student.example_loss(student.collate(next(batches))).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            if step in marks:
                seen[step] = yardstick.look(student)
                if is_enough(seen[step]):
                    break
    return seen


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Relearning(Attack[NetworkDomain]):
    """What attacks that relearn may choose."""

    domains: ClassVar[frozenset[str]] = frozenset({"classifier", "federated", "regression"})

    data: Annotated[Data, Field(description="learn from the full training set, or from the forget set alone")] = "train"
    measured_on: Annotated[
        MeasuredOn, Field(description="look at holdout items of the forget set's kind, or at the forget set itself")
    ] = "holdout"
    learning_rate: Annotated[float, Field(gt=0, description="of Adam")] = 1e-3
    batch_size: Annotated[int, Field(ge=1, description="items an update")] = 256
    seed: Annotated[int, Field(ge=0, description="of the order of the items")] = 0

    def lacking(self, model: NetworkDomain, splits: Splits[AttackContext], beside: Beside[NetworkDomain]) -> str | None:
        """What the attack cannot do without and is not there."""
        if self.data == "train" and not splits.retain:
            return "needs retain items: it learns from the full training set"
        if self.measured_on == "holdout" and not splits.holdout:
            return "needs holdout items of the forget set's kind to measure on"
        return None

    def measured(self, splits: Splits) -> Sequence[LabelledItem]:
        """What is looked at."""
        return (splits.holdout if self.measured_on == "holdout" else splits.forget) or ()

    def taught(self, splits: Splits) -> list[LabelledItem]:
        """What is learnt from."""
        return [*(splits.retain or ()), *splits.forget] if self.data == "train" else list(splits.forget)

    def course(self, items: Sequence[LabelledItem], steps: int) -> Course:
        """How it is taught. BatchNorm's statistics move with the full data, as in the authors' code.

        With the forget set alone they stay: a single class would pull them away from everything else.
        """
        return Course(
            items=items,
            steps=steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            learns_statistics=self.data == "train" and len(items) > 1,
            seed=self.seed,
        )


@dataclass(config=STRICT, frozen=True, kw_only=True)
class RelearningCurve(Relearning):
    """How well the forget set is known after so many updates on it: a result at each of them, group ``step N``.

    With a few examples (``examples = 10``) it shows how little brings back the rest of the forget set.
    """

    name: ClassVar[str] = "relearning"
    bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)

    data: Annotated[Data, Field(description="learn from the full training set, or from the forget set alone")] = (
        "forget"
    )
    steps: Annotated[int, Field(ge=1, description="updates")] = 50
    examples: Annotated[int | None, Field(ge=1, description="forget items that the attacker has; null = all")] = None

    @property
    @override
    def budget(self) -> str:
        some = "all" if self.examples is None else str(self.examples)
        beside = " beside the retain set" if self.data == "train" else ""
        return (
            f"{some} forget items{beside}; {self.steps} updates of Adam {self.learning_rate:g}, {self.batch_size} items"
        )

    @property
    def marks(self) -> tuple[int, ...]:
        """After how many updates the network is looked at: 0, 1, 2, 5, 10, 20, 50, ... and the last."""
        rounds = (digit * 10**power for power in range(len(str(self.steps))) for digit in (1, 2, 5))
        return (0, *(mark for mark in rounds if mark < self.steps), self.steps)

    def _pool(self, column: Sequence[Result]) -> Result:
        pooled = super()._pool(column)
        if not pooled.name.endswith("accuracy"):
            return pooled
        return replace(pooled, high=None if pooled.high is None else min(1.0, pooled.high))

    def attack(
        self, model: NetworkDomain, splits: Splits[AttackContext], target: str, beside: Beside[NetworkDomain]
    ) -> list[Result]:
        """One result a mark: accuracy with its exact interval, or loss with its bootstrap interval."""
        if self.examples is not None:
            drawn = torch.randperm(len(splits.forget), generator=torch.Generator().manual_seed(self.seed))
            splits = replace(splits, forget=[splits.forget[row] for row in drawn[: self.examples].tolist()])
        yardstick = Yardstick(model, self.measured(splits))
        seen = relearn(model, self.course(self.taught(splits), self.steps), yardstick, self.marks)
        kind, results = "accuracy" if yardstick.is_accuracy else "loss", []
        for step, values in seen.items():
            known = share(int(values.sum()), len(values)) if yardstick.is_accuracy else mean(values.tolist())
            name = f"{self.name}_{kind}"
            results.append(self.result(target, known, len(values), name=name, group=f"step {step}"))
        return results
