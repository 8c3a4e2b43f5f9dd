"""Relearning: a recommender is told some of what it has forgotten, and asked for the rest.

Every update is made on a copy: the caller's model stays as it is. An oracle that is taught the same shows how fast what
was never seen is learnt.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor
from typing_extensions import override

from genunlearn.contracts import STRICT, Attack, Beside, Splits
from genunlearn.data.recommender.interactions import as_pairs
from genunlearn.domains.recommender.adapter import Recommender
from genunlearn.ops.intervals import bounded_mean
from genunlearn.ops.ranking import NO_ITEMS, Ranked, rank_metrics
from genunlearn.records import Result


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ChoiceRelearning(Attack[Recommender]):
    """Recall@20 of a part of the forget set after so many updates on the other part: group ``step N``."""

    name: ClassVar[str] = "choice_relearning"
    domains: ClassVar[frozenset[str]] = frozenset({"recommender"})
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    share: Annotated[float, Field(gt=0, lt=1, description="of the forget set that the attacker has")] = 0.5
    steps: Annotated[int, Field(ge=1, description="updates")] = 20
    learning_rate: Annotated[float, Field(gt=0, description="of Adam")] = 0.01
    batch_size: Annotated[int, Field(ge=1, description="interactions an update")] = 256
    cutoff: Annotated[int, Field(ge=1, description="length of the list")] = 20
    seed: Annotated[int, Field(ge=0, description="of what the attacker has, and of the order")] = 0

    @property
    @override
    def budget(self) -> str:
        return (
            f"{self.share:g} of the forgotten interactions; {self.steps} updates of Adam {self.learning_rate:g}, "
            f"{self.batch_size} interactions each"
        )

    @property
    def marks(self) -> tuple[int, ...]:
        """After how many updates the model is looked at: 0, 1, 2, 5, 10, 20, 50, ... and the last."""
        rounds = (digit * 10**power for power in range(len(str(self.steps))) for digit in (1, 2, 5))
        return (0, *(mark for mark in rounds if mark < self.steps), self.steps)

    @override
    def lacking(self, model: Recommender, splits: Splits, beside: Beside[Recommender]) -> str | None:
        return None if len(splits.forget) > 1 else "needs two forgotten interactions: one to teach, one to ask for"

    @override
    def attack(self, model: Recommender, splits: Splits, target: str, beside: Beside[Recommender]) -> list[Result]:
        order = torch.randperm(len(splits.forget), generator=torch.Generator().manual_seed(self.seed)).tolist()
        count = min(max(1, round(self.share * len(order))), len(order) - 1)
        taught, rest = ([splits.forget[row] for row in rows] for rows in (order[:count], order[count:]))
        seen = torch.cat([as_pairs(splits.retain or ()), as_pairs(taught)])
        asked = Ranked(relevant=as_pairs(rest), seen=seen, barred=NO_ITEMS)
        return [
            self.result(target, bounded_mean(values.tolist()), len(values), group=f"step {step}")
            for step, values in self._relearn(model, taught, asked).items()
        ]

    def _relearn(self, model: Recommender, taught: Sequence[Any], asked: Ranked) -> dict[int, Tensor]:
        """Recall of each user by number of updates."""
        student = copy.copy(model)
        student.module = copy.deepcopy(model.network).requires_grad_(True)
        student.know(torch.cat([model.known, as_pairs(taught)]).unique(dim=0))
        optimizer, found = torch.optim.Adam(student.module.parameters(), lr=self.learning_rate), {}
        size = min(self.batch_size, len(taught))
        with torch.random.fork_rng(devices=[]):
            for step in range(self.steps + 1):
                if step:
                    torch.manual_seed((self.seed << 32) + step)
                    rows = torch.randperm(len(taught))[:size].tolist()
                    student.module.train()
                    loss = student.example_loss(student.collate([taught[row] for row in rows])).mean()
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                if step in self.marks:
                    found[step] = self._look(student, asked)
        return found

    def _look(self, student: Recommender, asked: Ranked) -> Tensor:
        found = rank_metrics(student.scorer(), asked, student.sizes[1], cutoffs=(self.cutoff,))
        return found["recall"][:, 0].double()
