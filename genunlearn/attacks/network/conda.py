"""The membership attack that ConDa is published with. It cannot tell a method that forgets from one that does not.

    attack model: boosted trees on the sorted probabilities of the original: all that clients taught against test items
    share of right answers for forget and as many test items, on the probabilities of the unlearned model

The trees learn the original's probabilities by heart. Whatever changes the weights changes these, and the attack then
answers by chance, whether the forget set is still known or not. Compare ``mia_shadow`` and ``mia_matched``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass
from typing_extensions import override

from genunlearn.attacks.network.base import AttackContext, context_of
from genunlearn.contracts import STRICT, Attack, Beside, Splits
from genunlearn.domains.network.base import LabelledItem, NetworkDomain
from genunlearn.ops.intervals import share
from genunlearn.records import Result


@dataclass(config=STRICT, frozen=True, kw_only=True)
class CondaMembership(Attack[NetworkDomain]):
    """Accuracy of boosted trees that were fitted on the original, as published; it cannot rank methods.

    Source: Chundawat et al., "ConDa" (arXiv 2410.04144), ``attacks/mia.py`` of the released code: XGBoost, 300 trees of
    depth 30, classes re-weighted, 90% of the items for the fit. Deviation: scikit-learn's histogram trees with
    XGBoost's rate and penalty.
    """

    name: ClassVar[str] = "mia_conda"
    domains: ClassVar[frozenset[str]] = frozenset({"federated"})
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    trees: Annotated[int, Field(ge=1, description="trees of the attack model")] = 300
    depth: Annotated[int, Field(ge=1, description="of each tree")] = 30
    seed: Annotated[int, Field(ge=0, description="of what is drawn")] = 0

    @property
    @override
    def budget(self) -> str:
        return (
            f"the original's outputs for all that clients taught and for test items; {self.trees} trees fitted on them"
        )

    @override
    def lacking(self, model: NetworkDomain, splits: Splits[AttackContext], beside: Beside[NetworkDomain]) -> str | None:
        if beside.original is None:
            return "needs the original"
        return None if context_of(splits).test else "needs test items"

    def attack(
        self, model: NetworkDomain, splits: Splits[AttackContext], target: str, beside: Beside[NetworkDomain]
    ) -> list[Result]:
        """One result, with the exact interval of a share."""
        test = context_of(splits).test
        original: Any = beside.original
        members = [*splits.forget, *(splits.retain or ())]
        fitted = beside.once((self, "trees"), lambda: self._fit(original, members, test))
        generator = np.random.default_rng(self.seed)
        size = min(len(splits.forget), len(test))
        inside, outside = (
            [items[row] for row in generator.permutation(len(items))[:size]] for items in (splits.forget, test)
        )
        called = fitted.predict(sorted_probabilities(model, [*inside, *outside]))
        right = int((called == np.repeat([1, 0], size)).sum())
        return [self.result(target, share(right, 2 * size), 2 * size)]

    def _fit(self, original: NetworkDomain, members: Sequence[LabelledItem], test: Sequence[LabelledItem]) -> Any:
        from sklearn.ensemble import HistGradientBoostingClassifier

        learner = HistGradientBoostingClassifier(
            max_iter=self.trees,
            max_depth=self.depth,
            max_leaf_nodes=None,
            min_samples_leaf=1,
            learning_rate=0.3,
            l2_regularization=1.0,
            early_stopping=False,
            class_weight="balanced",
            random_state=self.seed,
        )
        items, labels = [*members, *test], np.repeat([1, 0], [len(members), len(test)])
        rows = np.random.default_rng(self.seed).permutation(len(items))[: round(0.9 * len(items))]
        return learner.fit(sorted_probabilities(original, [items[row] for row in rows]), labels[rows])


def sorted_probabilities(model: NetworkDomain, items: Sequence[LabelledItem]) -> np.ndarray:
    """The probabilities of each item from the largest to the smallest, ``(items, classes)``."""
    return model.predict(items).softmax(1).sort(dim=1, descending=True).values.double().numpy()
