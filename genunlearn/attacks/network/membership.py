"""Membership attacks: can one tell from the answers that the forget set was learnt?

    published     a classifier of one feature tells retain from test; the share of forget that it calls members
    matched       forget against non-members of its own kind, by loss
    RMIA          forget against non-members, by likelihood relative to reference networks and a population

The published attack sees a forget set of one class through a classifier made for all classes. Unlearnt or not, a class
that differs from the others gives itself away there, so the matched attack is the one to believe.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor
from typing_extensions import override

from genunlearn.attacks.network.base import AttackContext, context_of
from genunlearn.contracts import STRICT, Attack, Beside, Splits
from genunlearn.data.network.items import targets_of
from genunlearn.domains.network.base import LabelledItem, NetworkDomain
from genunlearn.ops.intervals import share
from genunlearn.ops.membership import auc, marginal_probability, relative_membership, true_positive_rate
from genunlearn.ops.randomness import entropy
from genunlearn.records import Result

LEAST_ITEMS = 10
TINY = 1e-30
SHARES = (0.0, 1.0)

Seed = Annotated[int, Field(ge=0, description="of what is drawn at random")]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class EntropyMembership(Attack[NetworkDomain]):
    """Share of the forget set that a classifier of the prediction's entropy, fitted on retain and test, calls members.

    Source: Chundawat et al., "Can Bad Teaching Induce Forgetting?" (AAAI 2023), code (``svc``); the code of selective
    synaptic dampening publishes numbers of ``logistic`` under the same name. Both fit on all retain and test items
    (``most_items = None``), which takes an SVC hours on 50,000.
    """

    name: ClassVar[str] = "mia_entropy"
    domains: ClassVar[frozenset[str]] = frozenset({"classifier", "federated"})
    bounds: ClassVar[tuple[float, float]] = SHARES

    learner: Annotated[Literal["svc", "logistic"], Field(description="what tells retain from test")] = "svc"
    most_items: Annotated[int | None, Field(ge=1, description="items of each of retain and test to fit on")] = 2000
    seed: Seed = 0

    @property
    @override
    def budget(self) -> str:
        number = "all" if self.most_items is None else f"at most {self.most_items}"
        return f"outputs for {number} retain and as many test items; one {self.learner} of one feature"

    def feature(self, model: NetworkDomain, items: Sequence[LabelledItem]) -> Tensor:
        """What the classifier looks at, ``(items,)``."""
        return entropy(model.predict(items))

    def attack(
        self, model: NetworkDomain, splits: Splits[AttackContext], target: str, beside: Beside[NetworkDomain]
    ) -> list[Result]:
        """One result, with the exact interval of a share; skipped without retain or test items."""
        test = context_of(splits).test
        if not splits.retain or not test:
            return [self.skip(target, "needs retain and test items to fit on")]
        retain, others = (self.feature(model, self._some(items)) for items in (splits.retain, test))
        forget = self.feature(model, splits.forget)
        called = share_called_members(retain, others, forget, self.learner)
        return [self.result(target, share(round(called * len(forget)), len(forget)), len(forget), group="forget")]

    def _some(self, items: Sequence[LabelledItem]) -> Sequence[LabelledItem]:
        if self.most_items is None or len(items) <= self.most_items:
            return items
        return _draw(items, self.most_items, self.seed)


@dataclass(config=STRICT, frozen=True, kw_only=True)
class LossMembership(EntropyMembership):
    """The same by each item's loss: cross-entropy, or for regressors the absolute error in the targets' unit.

    Source: Tarun, Chundawat, Mandal, Kankanhalli, "Deep Regression Unlearning" (ICML 2023), code: ``svc`` on 2000
    training and 2000 test items.
    """

    name: ClassVar[str] = "mia_loss"
    domains: ClassVar[frozenset[str]] = frozenset({"classifier", "federated", "regression"})

    @override
    def feature(self, model: NetworkDomain, items: Sequence[LabelledItem]) -> Tensor:
        return _losses(model, items)


@dataclass(config=STRICT, frozen=True, kw_only=True)
class MatchedMembership(Attack[NetworkDomain]):
    """The forget set against non-members of its own kind: as hard to tell apart as for an oracle if it is forgotten.

    Two results. ``mia_matched`` is the area under the ROC curve of minus the loss: 0.5 is chance, and less than an
    oracle's says that the forget set stands out by being unlikely. ``mia_matched_accuracy`` is that of a logistic
    regression on the loss of equally many items of both, mean of ten stratified shuffle splits; its interval is that
    of a share of so many items.

    Source: the starter kit of the NeurIPS 2023 machine unlearning challenge, for the accuracy. ``nonmembers = "test"``
    takes test items of every kind, for comparison: such an attack mostly measures how the kinds differ.
    """

    name: ClassVar[str] = "mia_matched"
    domains: ClassVar[frozenset[str]] = frozenset({"classifier", "federated", "regression"})
    bounds: ClassVar[tuple[float, float]] = SHARES

    nonmembers: Annotated[
        Literal["matched", "test"], Field(description="holdout items of the forget set's kind, or all test items")
    ] = "matched"
    folds: Annotated[int, Field(ge=1, description="stratified splits of the logistic regression")] = 10
    seed: Seed = 0

    @property
    @override
    def budget(self) -> str:
        return f"outputs for forget and {self.nonmembers} items; {self.folds} logistic regressions of one feature"

    def attack(
        self, model: NetworkDomain, splits: Splits[AttackContext], target: str, beside: Beside[NetworkDomain]
    ) -> list[Result]:
        """Two results; skipped without non-members, or with too few to fit on."""
        others = (splits.holdout if self.nonmembers == "matched" else context_of(splits).test) or ()
        group = "matched" if self.nonmembers == "matched" else "unmatched"
        if not others:
            return [self.skip(target, f"needs {self.nonmembers} items as non-members", group=group)]
        inside, outside = _losses(model, splits.forget), _losses(model, others)
        number = len(inside) + len(outside)
        results = [self.result(target, auc(-inside, -outside), number, group=group)]
        fields = {"name": f"{self.name}_accuracy", "group": group}
        if (smaller := min(len(inside), len(outside))) < LEAST_ITEMS:
            return [*results, self.skip(target, f"needs {LEAST_ITEMS} items of both sides, {smaller} there", **fields)]
        accuracy = split_accuracy(inside, outside, folds=self.folds, seed=self.seed)
        _, low, high = share(round(accuracy * 2 * smaller), 2 * smaller)
        return [*results, self.result(target, (accuracy, low, high), 2 * smaller, **fields)]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class RMIA(Attack[NetworkDomain]):
    """Robust membership inference with a few reference networks that never saw the forget set (offline form).

    Two results: ``rmia``, the area under the ROC curve of the scores of forget against holdout items, and ``rmia_tpr``,
    the share of the forget set found at a small false positive rate. The population are test items outside the holdout,
    or the holdout where there are none.

    Source: Zarifzadeh, Liu, Shokri, "Low-Cost High-Power Membership Inference Attacks" (ICML 2024). Deviation: the
    probability of the true class is the plain softmax.
    """

    name: ClassVar[str] = "rmia"
    domains: ClassVar[frozenset[str]] = frozenset({"classifier", "federated"})
    bounds: ClassVar[tuple[float, float]] = SHARES

    references: Annotated[int, Field(ge=1, description="reference networks at most")] = 8
    gamma: Annotated[float, Field(ge=1, description="by what factor an item has to exceed one of the population")] = 2.0
    offset: Annotated[
        float, Field(ge=0, le=1, description="a: how near references come to networks that saw the item; 1 = equal")
    ] = 0.3
    false_positives: Annotated[float, Field(gt=0, lt=1, description="rate at which the share found is taken")] = 0.01

    @property
    @override
    def budget(self) -> str:
        return f"outputs for forget, holdout and test items of the network and of at most {self.references} references"

    def attack(
        self, model: NetworkDomain, splits: Splits[AttackContext], target: str, beside: Beside[NetworkDomain]
    ) -> list[Result]:
        """Two results; skipped without references, or without holdout items."""
        context = context_of(splits)
        candidates = context.references or beside.oracles
        references = [network for network in candidates if network is not model][: self.references]
        if not references or not splits.holdout:
            missing = "a reference network" if splits.holdout else "holdout items of the forget set's kind"
            return [self.skip(target, f"needs {missing}")]
        held = {item.id for item in splits.holdout}
        population = [item for item in context.test if item.id not in held] or splits.holdout
        ratios = [self._ratios(model, references, items) for items in (splits.forget, splits.holdout, population)]
        members, others = (relative_membership(part, ratios[2], self.gamma) for part in ratios[:2])
        return [
            self.result(target, auc(members, others), len(members) + len(others)),
            self._found(target, members, others),
        ]

    def _ratios(self, model: NetworkDomain, references: Sequence[NetworkDomain], items: Sequence[Any]) -> Tensor:
        marginal = marginal_probability(torch.stack([_confidence(one, items) for one in references]), self.offset)
        return _confidence(model, items) / marginal.clamp_min(TINY)

    def _found(self, target: str, members: Tensor, others: Tensor) -> Result:
        fields = {"name": f"{self.name}_tpr"}
        if len(others) * self.false_positives < 1:
            least = int(np.ceil(1 / self.false_positives))
            reason = f"needs {least} holdout items for a rate of {self.false_positives:g}, {len(others)} there"
            return self.skip(target, reason, **fields)
        return self.result(target, true_positive_rate(members, others, self.false_positives), len(members), **fields)


def share_called_members(
    retain: Tensor, test: Tensor, forget: Tensor, learner: Literal["svc", "logistic"] = "svc"
) -> float:
    """The published attack's arithmetic on one feature.

    Args:
        retain: ``(retain,)``, the feature of members.
        test: ``(test,)``, that of non-members; the two are fitted as they are, however unbalanced.
        forget: ``(forget,)``.
        learner: SVC with C = 3, rbf, gamma ``auto``; or logistic regression with balanced classes.

    Returns:
        The share of `forget` that is called members.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import SVC

    # The published logistic regression is the multinomial one. With two classes it shares its penalty between two
    # opposite weight vectors, which is the ordinary one at twice the C.
    fitted = (
        SVC(C=3, kernel="rbf", gamma="auto") if learner == "svc" else LogisticRegression(C=2, class_weight="balanced")
    )
    labels = np.concatenate([np.ones(len(retain)), np.zeros(len(test))])
    fitted.fit(torch.cat([retain, test]).double().numpy()[:, None], labels)
    return float(fitted.predict(forget.double().numpy()[:, None]).mean())


def split_accuracy(inside: Tensor, outside: Tensor, *, folds: int = 10, seed: int = 0) -> float:
    """Accuracy of telling two sets apart by one feature, mean over stratified shuffle splits of a tenth each.

    Args:
        inside: ``(members,)``.
        outside: ``(non-members,)``; of the larger set as many as of the smaller one are drawn.
        folds: Number of splits.
        seed: Decides draws and splits.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedShuffleSplit, cross_val_score

    size = min(len(inside), len(outside))
    generator = torch.Generator().manual_seed(seed)
    drawn = [side[torch.randperm(len(side), generator=generator)[:size]] for side in (inside, outside)]
    labels = np.repeat([1, 0], size)
    drawer = StratifiedShuffleSplit(n_splits=folds, random_state=seed)
    features = torch.cat(drawn).double().numpy()[:, None]
    return float(cross_val_score(LogisticRegression(), features, labels, cv=drawer, scoring="accuracy").mean())


def _losses(model: NetworkDomain, items: Sequence[Any]) -> Tensor:
    """Cross-entropy of a classifier, absolute error of a regressor in the targets' unit, ``(items,)``."""
    outputs, targets = model.predict(items), targets_of(items)
    if targets.is_floating_point():
        return (outputs - targets.reshape(len(targets), -1)).abs().mean(1)
    return torch.nn.functional.cross_entropy(outputs, targets, reduction="none")


def _confidence(model: NetworkDomain, items: Sequence[Any]) -> Tensor:
    """Probability of the true class, ``(items,)`` in double precision."""
    outputs, targets = model.predict(items).double(), targets_of(items)
    return outputs.softmax(1).gather(1, targets[:, None])[:, 0]


def _draw(items: Sequence[LabelledItem], count: int, seed: int) -> list[LabelledItem]:
    rows = torch.randperm(len(items), generator=torch.Generator().manual_seed(seed))[:count]
    return [items[row] for row in rows.tolist()]
