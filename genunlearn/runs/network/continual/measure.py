"""What is measured after a request: what is known, what is gone, and how near both are to never having learnt it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from genunlearn.attacks.network.base import AttackContext
from genunlearn.attacks.network.membership import EntropyMembership, MatchedMembership
from genunlearn.contracts import ORACLE, Beside, Splits
from genunlearn.data.network.items import Item, targets_of
from genunlearn.data.network.subsets import random_subset
from genunlearn.data.network.tasks import Request
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.domains.network.classifier import Classifier
from genunlearn.evaluation.network.metrics import FORGET, ZRF, Accuracy, ActivationDistance
from genunlearn.evaluation.network.predictions import Predictions
from genunlearn.evaluation.pooling import pool
from genunlearn.records import Result
from genunlearn.runs.network.measure import SHARES

RETAIN, TEST, GONE = "retain", "test", "forgotten classes"
SIDES = (FORGET, RETAIN, TEST)
MOST_RETAIN = 1000
"""Training items that must stay and are asked, drawn at random where there are more."""
PROBE_SEED = 20_000
"""Of the untrained network that ZRF compares with: not the one that a method has been taught by."""


@dataclass(frozen=True, kw_only=True)
class View:
    """Where a stream stands after a request.

    Attributes:
        number: Of the request, from 0.
        known: Training items that were learnt and are not forgotten.
        forgotten: Training items that are forgotten.
        sets: Everything that is forgotten at some time and has been learnt by now, by the request that is to do it.
        learnt: By class, the number of the request that taught it first.
    """

    number: int
    known: Sequence[Item]
    forgotten: Sequence[Item]
    sets: Mapping[str, Sequence[Item]]
    learnt: Mapping[int, int]

    @property
    def known_classes(self) -> tuple[int, ...]:
        """Of the known items, sorted."""
        return tuple(sorted({int(item.target) for item in self.known}))

    @property
    def gone_classes(self) -> tuple[int, ...]:
        """Of which nothing is known any more."""
        return tuple(sorted(set(self.learnt) - set(self.known_classes)))


def views_of(requests: Sequence[Request]) -> tuple[View, ...]:
    """Where a stream stands after each of its requests."""
    known: dict[str, Item] = {}
    forgotten: dict[str, Item] = {}
    learnt: dict[int, int] = {}
    found = []
    named = {set_name(number, one): one for number, one in enumerate(requests) if one.kind == "forget"}
    for number, request in enumerate(requests):
        if request.kind == "learn":
            known |= {item.id: item for item in request.items}
            learnt = {**dict.fromkeys(request.classes, number), **learnt}
        else:
            for key in request.ids:
                forgotten[key] = known.pop(key)
        there = known.keys() | forgotten.keys()
        sets = {name: one.items for name, one in named.items() if one.ids <= there}
        forgotten = dict(sorted(forgotten.items()))
        found.append(
            View(
                number=number,
                known=tuple(known.values()),
                forgotten=tuple(forgotten.values()),
                sets=sets,
                learnt=dict(learnt),
            )
        )
    return tuple(found)


def set_name(number: int, request: Request) -> str:
    """What the set of a request to forget is called in results: ``4 forget:class:3``, counted from 1."""
    return f"{number + 1} {request.text}"


@dataclass(frozen=True)
class StreamProbe:
    """Measures networks on what a stream knows and has forgotten.

    Attributes:
        test: All test items.
        seed: Decides which known items are asked where there are many.
    """

    test: Sequence[Item]
    seed: int

    def measure(
        self, model: NetworkDomain, view: View, target: str, oracles: Sequence[NetworkDomain]
    ) -> list[dict[str, Any]]:
        """Results of one network after the request of `view`, as plain JSON."""
        data = self._groups(view)
        beside = [Predictions(probed(one), data) for one in oracles]
        return [
            asdict(result) for result in self._results(Predictions(probed(model), data, oracles=beside), view, target)
        ]

    def measure_oracles(self, view: View, oracles: Sequence[NetworkDomain]) -> list[dict[str, Any]]:
        """Results of the oracles: of one its own, of several their mean with a t-interval."""
        data = self._groups(view)
        found = [Predictions(probed(one), data) for one in oracles]
        for one in found:
            one.oracles = tuple(found)
        columns = zip(*(self._results(one, view, ORACLE) for one in found), strict=True)
        return [asdict(column[0] if len(column) == 1 else pool(column, SHARES)) for column in columns]

    def right(self, model: NetworkDomain) -> str:
        """Which of the test items the network gets right, one character each."""
        flags = model.predict(self.test).argmax(1) == targets_of(self.test)
        return "".join("01"[int(flag)] for flag in flags.tolist())

    def labels(self) -> np.ndarray:
        """Classes of the test items."""
        return targets_of(self.test).numpy()

    def _results(self, probes: Predictions, view: View, target: str) -> list[Result]:
        found = Accuracy().measure(probes, target)
        if not view.forgotten:
            return found
        sides = Predictions(
            probes.model, {name: probes.data[name] for name in SIDES if name in probes.data}, oracles=probes.oracles
        )
        found += ActivationDistance().measure(sides, target)
        found += ZRF().measure(probes, target)
        return found + self._membership(probes.model, view, target)

    def _membership(self, model: NetworkDomain, view: View, target: str) -> list[Result]:
        classes = {int(item.target) for item in view.forgotten}
        holdout = [item for item in self.test if int(item.target) in classes]
        known = set(view.known_classes)
        context = AttackContext(test=[item for item in self.test if int(item.target) in known])
        splits = Splits(forget=view.forgotten, retain=self._some(view.known), holdout=holdout, context=context)
        attacks = (MatchedMembership(seed=self.seed), EntropyMembership(seed=self.seed))
        return [result for attack in attacks for result in attack.run(model, splits, target, Beside())]

    def _groups(self, view: View) -> dict[str, Sequence[Item]]:
        known, gone = set(view.known_classes), set(view.gone_classes)
        of = {label: [item for item in self.test if int(item.target) == label] for label in sorted(view.learnt)}
        return {
            FORGET: view.forgotten,
            RETAIN: self._some(view.known),
            TEST: [item for item in self.test if int(item.target) in known],
            GONE: [item for item in self.test if int(item.target) in gone],
            **{class_name(label): items for label, items in of.items()},
            **view.sets,
        }

    def _some(self, items: Sequence[Item]) -> Sequence[Item]:
        if len(items) <= MOST_RETAIN:
            return items
        marked = random_subset(items, MOST_RETAIN, self.seed).tolist()
        return [item for item, is_drawn in zip(items, marked, strict=True) if is_drawn]


def class_name(label: int) -> str:
    """What a class is called in results."""
    return f"class {label}"


def probed(model: NetworkDomain) -> NetworkDomain:
    """The network beside an untrained one that no method has learnt from."""
    return Classifier(model.network, untrained_seed=PROBE_SEED)
