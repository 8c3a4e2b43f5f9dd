"""Membership: do forgotten choices stand higher than others that the same users made and the model was never told?

A choice's height is the share of unknown items that it outscores for its user, so that users and their habits of
scoring do not matter. Tastes generalise: both kinds stand high, and only the difference says that one was learnt.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor
from typing_extensions import override

from genunlearn.contracts import STRICT, Attack, Beside, Splits
from genunlearn.data.recommender.interactions import as_pairs
from genunlearn.domains.recommender.adapter import Recommender
from genunlearn.ops.membership import auc
from genunlearn.ops.ranking import NO_ITEMS, Ranked, percentiles
from genunlearn.records import Result


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ChoiceMembership(Attack[Recommender]):
    """Forgotten interactions against held-out ones of the same users, or of the same items where items go.

    Two areas under the ROC curve, 0.5 where nothing tells them apart: of single ``pairs``, and of ``users``, each with
    the mean of what was forgotten against the mean of what was held out.
    """

    name: ClassVar[str] = "choice_membership"
    domains: ClassVar[frozenset[str]] = frozenset({"recommender"})
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    @property
    @override
    def budget(self) -> str:
        return "all scores, the retained interactions, and held-out interactions of the same users or items"

    @override
    def lacking(self, model: Recommender, splits: Splits, beside: Beside[Recommender]) -> str | None:
        return None if splits.holdout else "needs held-out interactions of the same users or items"

    @override
    def attack(self, model: Recommender, splits: Splits, target: str, beside: Beside[Recommender]) -> list[Result]:
        inside, outside = as_pairs(splits.forget), as_pairs(splits.holdout or ())
        asked = Ranked(relevant=torch.cat([inside, outside]), seen=as_pairs(splits.retain or ()), barred=NO_ITEMS)
        pairs, heights = percentiles(model.scorer(), asked, model.sizes[1])
        keys = pairs[:, 0] * model.sizes[1] + pairs[:, 1]
        is_member = torch.isin(keys, inside[:, 0] * model.sizes[1] + inside[:, 1])
        members, others = heights[is_member], heights[~is_member]
        results = [self.result(target, auc(members, others), len(keys), group="pairs")]
        users = [_by_user(pairs[side, 0], heights[side]) for side in (is_member, ~is_member)]
        both = sorted(users[0].keys() & users[1].keys())
        if not both:
            reason = "needs users with forgotten and held-out interactions"
            return [*results, self.skip(target, reason, group="users")]
        own, held = (torch.tensor([side[user] for user in both]) for side in users)
        return [*results, self.result(target, auc(own, held), 2 * len(both), group="users")]


def _by_user(users: Tensor, heights: Tensor) -> dict[int, float]:
    """The mean height of each user's items."""
    names, places = users.unique(return_inverse=True)
    sums = torch.zeros(len(names), dtype=torch.double).index_add(0, places, heights.double())
    return dict(zip(names.tolist(), (sums / places.bincount()).tolist(), strict=True))
