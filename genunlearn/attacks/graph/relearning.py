"""Relearning: a copy is taught half of what was forgotten, and asked about the other half.

An oracle that is taught the same shows how fast what was never seen is learnt.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from typing_extensions import override

from genunlearn.contracts import STRICT, Attack, Beside, Splits
from genunlearn.data.graph.graph import GraphItem
from genunlearn.data.graph.requests import GraphContext
from genunlearn.domains.graph.adapter import GraphModel
from genunlearn.ops.intervals import share
from genunlearn.ops.membership import auc
from genunlearn.records import Result


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Relearning(Attack[GraphModel]):
    """How well the other half is known after so many updates: a result at each of them, group ``step N``.

    ``relearning_accuracy`` for nodes; for links ``relearning_auc``, the area under the curve of the other half against
    pairs of the test set without a link. The graph that the copy sees stays the one without what was deleted.
    """

    name: ClassVar[str] = "relearning"
    domains: ClassVar[frozenset[str]] = frozenset({"graph"})
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    steps: Annotated[int, Field(ge=1, description="updates")] = 20
    share: Annotated[float, Field(gt=0, lt=1, description="share of the forget set that the attacker has")] = 0.5
    learning_rate: Annotated[float, Field(gt=0, description="of Adam")] = 1e-3
    seed: Annotated[int, Field(ge=0, description="of the half, and of dropout")] = 0

    @property
    @override
    def budget(self) -> str:
        return f"weights and {self.share:g} of the forget set; {self.steps} updates of Adam {self.learning_rate:g}"

    @property
    def marks(self) -> tuple[int, ...]:
        """After how many updates the copy is looked at: 0, 1, 2, 5, 10, 20, 50, ... and the last."""
        rounds = (digit * 10**power for power in range(len(str(self.steps))) for digit in (1, 2, 5))
        return (0, *(mark for mark in rounds if mark < self.steps), self.steps)

    def lacking(self, model: GraphModel, splits: Splits[GraphContext], beside: Beside[GraphModel]) -> str | None:
        """Enough items to halve; pairs without a link to compare with."""
        if not 0 < round(self.share * len(splits.forget)) < len(splits.forget):
            return f"needs more than {len(splits.forget)} forget items to divide"
        if model.task == "link" and not _unlinked(splits):
            return "needs pairs of the test set without a link"
        return None

    def attack(
        self, model: GraphModel, splits: Splits[GraphContext], target: str, beside: Beside[GraphModel]
    ) -> list[Result]:
        """One result a mark: accuracy with its exact interval, or an area with DeLong's."""
        drawn = torch.randperm(len(splits.forget), generator=torch.Generator().manual_seed(self.seed)).tolist()
        cut = round(self.share * len(drawn))
        taught, asked = ([splits.forget[row] for row in part] for part in (drawn[:cut], drawn[cut:]))
        student = copy.copy(model)
        student.module = copy.deepcopy(model.network).requires_grad_(True)
        optimizer = torch.optim.Adam(student.module.parameters(), lr=self.learning_rate)
        lesson, results = student.collate(taught), []
        with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
            torch.manual_seed(self.seed)
            for step in range(self.steps + 1):
                if step:
                    student.module.train()
                    optimizer.zero_grad()
                    student.example_loss(lesson).mean().backward()
                    optimizer.step()
                if step in self.marks:
                    results.append(self._look(student, asked, splits, target, step))
        return results

    def _look(
        self, student: GraphModel, asked: Sequence[GraphItem], splits: Splits[GraphContext], target: str, step: int
    ) -> Result:
        logits, group = student.predict(asked), f"step {step}"
        if student.task == "link":
            others = student.predict(_unlinked(splits))[:, 1]
            area = auc(logits[:, 1], others)
            return self.result(target, area, len(logits) + len(others), name=f"{self.name}_auc", group=group)
        hits = logits.argmax(1) == torch.tensor([item.target for item in asked])
        known = share(int(hits.sum()), len(hits))
        return self.result(target, known, len(hits), name=f"{self.name}_accuracy", group=group)


def _unlinked(splits: Splits[GraphContext]) -> list[GraphItem]:
    return [item for item in splits.context.test if not item.target] if splits.context else []
