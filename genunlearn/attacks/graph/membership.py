"""Membership: can one tell from its answers that a network has learnt what it was to forget?

Forget items against items that were never learnt, by the probability of the true class. Both are asked alike: where
forget items have lost their links or features, so have the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor
from typing_extensions import override

from genunlearn.contracts import STRICT, Attack, Beside, Splits
from genunlearn.data.graph.graph import GraphItem
from genunlearn.data.graph.requests import GraphContext
from genunlearn.domains.graph.adapter import GraphModel
from genunlearn.ops.membership import auc
from genunlearn.records import Result


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Membership(Attack[GraphModel]):
    """Area under the ROC curve of forget items against held-out ones of their kind: 0.5 is chance."""

    name: ClassVar[str] = "membership"
    domains: ClassVar[frozenset[str]] = frozenset({"graph"})
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    feature: Annotated[
        Literal["loss", "entropy"], Field(description="what tells: the true class's loss, or how unsure the answer is")
    ] = "loss"

    @property
    @override
    def budget(self) -> str:
        return f"answers for forget items, and for unseen ones that are asked alike; one feature, the {self.feature}"

    def lacking(self, model: GraphModel, splits: Splits[GraphContext], beside: Beside[GraphModel]) -> str | None:
        """Items that were never learnt."""
        return None if splits.holdout and splits.context else "needs held-out items of the forget set's kind"

    def attack(
        self, model: GraphModel, splits: Splits[GraphContext], target: str, beside: Beside[GraphModel]
    ) -> list[Result]:
        """One result, with DeLong's interval."""
        assert splits.context is not None and splits.holdout is not None  # see `lacking`
        inside = self._scores(model, splits.forget)
        outside = self._scores(model.on(splits.context.holdout_graph), splits.holdout)
        return [self.result(target, auc(inside, outside), len(inside) + len(outside))]

    def _scores(self, model: GraphModel, items: Sequence[GraphItem]) -> Tensor:
        logits = model.predict(items)
        if self.feature == "entropy":
            spread = logits.double().log_softmax(1)
            return (spread.exp() * spread).sum(1)
        targets = torch.tensor([item.target for item in items])
        return -torch.nn.functional.cross_entropy(logits.double(), targets, reduction="none")
