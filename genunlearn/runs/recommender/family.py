"""Recommenders as a run sees them: interactions, what the service deletes, rankings beside oracles."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

from genunlearn.config.recommender import RecommenderConfig
from genunlearn.contracts import ORIGINAL, UNLEARNED, Beside, Method, Outcome, Splits, Suite
from genunlearn.contracts.family import Family, Measurement, Written
from genunlearn.domains.recommender.adapter import Recommender
from genunlearn.engine import parameters
from genunlearn.evaluation.recommender.metrics import AT, FORGET, MAIN, Rankings, once_deleted
from genunlearn.ops.intervals import over_seeds
from genunlearn.ops.ranking import CUTOFFS, rank_metrics
from genunlearn.records import Result, hash_files
from genunlearn.registry import SUITES
from genunlearn.runs.recommender.request import (
    RecommenderRequest,
    open_oracles,
    open_recommender,
    read_request,
    retraining_seconds,
    summary_of,
    why_no_oracle,
)

LENGTHS = 4
"""A list that is to show a collapse holds at most one in so many of the items: where it holds nearly all, it cannot."""


class RecommenderFamily(Family[RecommenderRequest, Recommender]):
    """Recommenders."""

    usual_attacks: ClassVar[tuple[str, ...]] = ("choice_membership", "choice_relearning")
    main_metric: ClassVar[str] = MAIN
    config: RecommenderConfig

    @property
    def domain(self) -> type[Recommender]:
        """Recommenders."""
        return Recommender

    def request(self, method: Method) -> RecommenderRequest:
        """The catalogue, and which interactions are to go."""
        return read_request(self.config)

    def given(self, request: RecommenderRequest) -> Mapping[str, bool]:
        """Retained interactions, unless the method is to do without."""
        return {"retain": self._gives_retain, "full_weights": self.config.parameters.kind == "full"}

    def summary(self, request: RecommenderRequest) -> str:
        """How many interactions are to go."""
        count, every = int(request.chosen.marked.sum()), len(request.catalogue.train)
        return f"{request.name}: {count:,} of {every:,} interactions to forget"

    def cannot_stop(self, request: RecommenderRequest) -> str | None:
        """Recall is what is measured of rankings."""
        return None

    def environment(self, request: RecommenderRequest) -> AbstractContextManager[None]:
        """As many threads as the lab was built with: their number decides the order of float additions."""
        if request.study is None:
            return nullcontext()
        from genunlearn.lab.recommender.build import fixed_threads

        return fixed_threads()

    # ---- models and data -------------------------------------------------------------------------------------

    def open(self, request: RecommenderRequest) -> Recommender:
        """The recommender as it was taught."""
        return open_recommender(self.config, request)

    def why_no_oracle(self, request: RecommenderRequest) -> str | None:
        """The lab trains some; for other models they have to be named."""
        return why_no_oracle(self.config, request)

    def oracles(self, request: RecommenderRequest) -> Sequence[Recommender]:
        """One recommender a seed, each without the interactions and the features that go."""
        oracles = open_oracles(self.config, request)
        for oracle in oracles:
            request.delete_from(oracle)
        return oracles

    def retraining_seconds(self, request: RecommenderRequest) -> float | None:
        """From the cards of the lab's oracles."""
        return retraining_seconds(self.config, request)

    def splits(self, request: RecommenderRequest, model: Recommender, method: Method) -> Splits[None]:
        """Forget and retain interactions; `model` holds none of the former from here on.

        A service that forgets deletes its records first. Graphs then have fewer edges, and what methods train is what
        is served afterwards.
        """
        request.delete_from(model)
        return request.splits if self._gives_retain else replace(request.splits, retain=None)

    def attacked(self, request: RecommenderRequest, beside: Beside[Recommender]) -> Sequence[Splits[None]]:
        """The whole request; an attacker has the retained interactions even where the method has not."""
        return (request.splits,)

    @property
    def _gives_retain(self) -> bool:
        return self.config.request.retain == "all"

    # ---- measurement -----------------------------------------------------------------------------------------

    def measure(
        self, model: Recommender, request: RecommenderRequest, target: str, beside: Beside[Recommender]
    ) -> Measurement:
        """Results of the suite beside the oracles; of the original also what deletion alone leaves."""
        results = list(self._suite.measure(self._rankings(model, request, self._oracles(request, beside)), target))
        if target == ORIGINAL:
            bare = copy.deepcopy(model)
            request.delete_from(bare)
            results.append(once_deleted(Rankings(bare, {FORGET: request.measured()[FORGET]}), target))
        return {"results": [asdict(result) for result in results]}

    def measure_oracles(self, request: RecommenderRequest, beside: Beside[Recommender]) -> Measurement:
        """Means over the oracles, with t-intervals."""
        runs = [self._suite.measure(oracle, "oracle") for oracle in self._oracles(request, beside)]
        return {"results": [asdict(_pool(column)) for column in zip(*runs, strict=True)]}

    def unknown(self, request: RecommenderRequest, before: Measurement) -> list[str]:
        """What a recommender was trained on counts as known: how high it ranks it says little of membership."""
        return []

    def recall(self, model: Recommender, request: RecommenderRequest) -> float:
        """Recall@20 on the forget set."""
        asked = request.measured()["forget"]
        found = rank_metrics(model.scorer(), asked, model.sizes[1], cutoffs=(AT,))
        return float(found[MAIN].mean())

    def damage(self, request: RecommenderRequest, model: Recommender, beside: Beside[Recommender]) -> str | None:
        """Recall on the validation interactions, never on the test's, has fallen too far."""
        items = len(request.catalogue.items)
        at = max((k for k in CUTOFFS if k <= AT and LENGTHS * k <= items), default=CUTOFFS[0])
        before, after = (_level(beside.measured[target], f"valid@{at}") for target in (ORIGINAL, UNLEARNED))
        if before is None or after is None:
            self.watch.announce("no validation interactions, so that a collapse would go unseen")
            return None
        if after >= before * (1 - self.config.evaluate.max_retain_loss):
            return None
        return f"Recall@{at} on valid fell from {before:.3f} to {after:.3f}"

    @property
    def _suite(self) -> Suite:
        name = self.config.evaluate.suite
        found: Suite = SUITES.get("ranking" if name == "auto" else name, "recommender")
        return found

    def _rankings(self, model: Recommender, request: RecommenderRequest, oracles: Sequence[Rankings]) -> Rankings:
        size = self.config.evaluate.batch_size
        return Rankings(model, request.measured(), oracles=oracles, batch_size=size)

    def _oracles(self, request: RecommenderRequest, beside: Beside[Recommender]) -> list[Rankings]:
        return beside.once("rankings", lambda: self._ranked_oracles(request, beside))

    def _ranked_oracles(self, request: RecommenderRequest, beside: Beside[Recommender]) -> list[Rankings]:
        found = [self._rankings(one, request, ()) for one in beside.oracles]
        for oracle in found:
            oracle.oracles = tuple(found)
        return found

    # ---- what is written -------------------------------------------------------------------------------------

    def describe(self, request: RecommenderRequest, model: Recommender) -> tuple[dict[str, Any], dict[str, Any]]:
        """The forget set in words and numbers; hashes of the base and the request."""
        said: dict[str, Any] = {"model": self.config.model.source, "network": model.kind, **summary_of(request)}
        if request.study:
            said["data"] = "semi-synthetic: real pictures and texts, made-up users with planted tastes"
        return said, {"base": model.base_sha256, "request": request.sha256}

    def save(self, model: Recommender, method: Method, outcome: Outcome, folder: Path) -> Written:
        """The whole recommender, without the interactions and the features that went."""
        parameters.save_whole(model, folder / "model")
        return Written({"model": hash_files((folder / "model").glob("*.safetensors"))})


def _level(measured: Mapping[str, Any], group: str) -> float | None:
    found = [row["value"] for row in measured["results"] if (row["name"], row["group"]) == (MAIN, group)]
    return found[0] if found else None


def _pool(column: Sequence[Result]) -> Result:
    """One result of several oracles: the mean, with its t-interval over them; skipped if one of them is."""
    if missing := next((result for result in column if result.value is None), None):
        return missing
    value, low, high = over_seeds([result.value for result in column if result.value is not None])
    if column[0].name != "oracle_gap":
        low, high = None if low is None else max(0.0, low), None if high is None else min(1.0, high)
    return replace(column[0], value=value, low=low, high=high)
