"""Membership with shadow models: federations of the same kind, of which the attacker knows who learnt what.

    halve the items of every client that stays;  shadow = federation of the halves
    attack model: taught half (1) against the other half (0), on the answers of the shadows
    scores of the forget set against unseen items of the same clients, on the answers of the model

An attack model that has never seen the attacked one can be asked about several models in turn, and ranks them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor
from typing_extensions import override

from genunlearn.attacks.network.base import AttackContext
from genunlearn.contracts import STRICT, Attack, Beside, Splits
from genunlearn.data.network.items import targets_of
from genunlearn.domains.network.base import LabelledItem, NetworkDomain
from genunlearn.domains.network.federated.adapter import FederatedClassifier, state_of
from genunlearn.domains.network.federated.server import Server
from genunlearn.ops.membership import auc
from genunlearn.records import Result

TOP = 3
"""Largest probabilities that the attack model looks at."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class ShadowMembership(Attack[FederatedClassifier]):
    """Area under the ROC curve of telling the forget set from unseen items, by what shadow federations have shown.

    Source: Shokri, Stronati, Song, Shmatikov, "Membership Inference Attacks Against Machine Learning Models" (IEEE S&P
    2017). Deviations: the shadows are federations, taught as the attacked one was; one attack model for all classes, a
    logistic regression on the logarithms of the largest probabilities and of the true class's.
    """

    name: ClassVar[str] = "mia_shadow"
    domains: ClassVar[frozenset[str]] = frozenset({"federated"})
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    shadows: Annotated[int, Field(ge=1, description="shadow federations")] = 2
    rounds: Annotated[int | None, Field(ge=1, description="rounds of each; by default those of the attacked one")] = (
        None
    )
    seed: Annotated[int, Field(ge=0, description="of halves, weights and order")] = 0

    @property
    @override
    def budget(self) -> str:
        return (
            f"the items of the clients that stay, {self.shadows} federations of halves of them; outputs for forget and "
            "held-out items; one logistic regression"
        )

    @override
    def lacking(
        self, model: FederatedClassifier, splits: Splits[AttackContext], beside: Beside[FederatedClassifier]
    ) -> str | None:
        return None if splits.retain and splits.holdout else "needs retain items, and held-out ones of the clients"

    def attack(
        self,
        model: FederatedClassifier,
        splits: Splits[AttackContext],
        target: str,
        beside: Beside[FederatedClassifier],
    ) -> list[Result]:
        """One result, with DeLong's interval."""
        key = self, "shadows"
        fitted = beside.once(key, lambda: self._fit(model, splits.retain or ()))
        holdout = splits.holdout or ()
        members, others = (
            torch.from_numpy(fitted.decision_function(features(model, items))) for items in (splits.forget, holdout)
        )
        return [self.result(target, auc(members, others), len(members) + len(others), group="matched")]

    def _fit(self, model: FederatedClassifier, retain: Sequence[LabelledItem]) -> Any:
        """The attack model."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        known = {item.id for item in retain}
        seen, labels = [], []
        for number in range(self.shadows):
            inside, outside = self._halves(model, known, number)
            shadow = self._teach(model, inside, number)
            for items, label in ((inside, 1), (outside, 0)):
                flat = [item for own in items.values() for item in own]
                seen.append(features(shadow, flat))
                labels.append(np.full(len(flat), label))
        learner = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
        return learner.fit(np.concatenate(seen), np.concatenate(labels))

    def _halves(
        self, model: FederatedClassifier, known: set[str], number: int
    ) -> tuple[dict[int, list[LabelledItem]], dict[int, list[LabelledItem]]]:
        inside: dict[int, list[LabelledItem]] = {}
        outside: dict[int, list[LabelledItem]] = {}
        for client, items in model.federation.clients.items():
            mine = [item for item in items if item.id in known]
            if len(mine) < 2 * 2:
                continue
            generator = torch.Generator().manual_seed(self.seed * 1000 + number)
            order = torch.randperm(len(mine), generator=generator).tolist()
            half = len(mine) // 2
            inside[client] = [mine[place] for place in order[:half]]
            outside[client] = [mine[place] for place in order[half:]]
        return inside, outside

    def _teach(
        self, model: FederatedClassifier, items: dict[int, list[LabelledItem]], number: int
    ) -> FederatedClassifier:
        seed = self.seed * 1000 + number
        shadow = model.fresh(seed)
        federation = replace(model.federation, clients=items, history=None)
        rounds = self.rounds or federation.rounds
        start = state_of(shadow)
        plan = federation.plan(start, tuple(items), rounds=rounds, seed=seed)
        federation.teach(shadow, plan, Server(start, weighting=federation.weighting))
        return shadow


def features(model: NetworkDomain, items: Sequence[LabelledItem]) -> np.ndarray:
    """Logarithms of the largest probabilities and of the true class's, ``(items, TOP + 1)``."""
    outputs: Tensor = model.predict(items).double().log_softmax(1)
    true = outputs.gather(1, targets_of(items)[:, None])  # type: ignore[arg-type]
    top = outputs.topk(min(TOP, outputs.shape[1]), dim=1).values
    return torch.cat([top, true], dim=1).clamp_min(-30.0).numpy()
