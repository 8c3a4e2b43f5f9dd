"""Classifiers and regressors as a run sees them: labelled items, forget sets, oracles of several seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from genunlearn.attacks.network.base import AttackContext
from genunlearn.config.network import NetworkConfig
from genunlearn.contracts import ORACLE, ORIGINAL, UNLEARNED, Attack, Beside, Journal, Method, Outcome, Splits
from genunlearn.contracts.family import Family, Measurement, Written
from genunlearn.data.network.items import Item, targets_of
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.engine import parameters
from genunlearn.records import hash_files, write_json
from genunlearn.registry import DOMAINS, SUITES
from genunlearn.runs.network.guard import Guard
from genunlearn.runs.network.measure import RATES, NetworkProbe
from genunlearn.runs.network.pictures import paint_classes
from genunlearn.runs.network.request import (
    NetworkRequest,
    base_hash,
    open_network,
    open_oracles,
    open_unlearned,
    read_request,
    retraining_seconds,
    why_no_oracle,
)
from genunlearn.runs.network.synthetic_retain import check_rows, cost_of, generator_of, synthetic_items

CURVES = "curves.json"
MODEL = "model"


class NetworkFamily(Family[NetworkRequest, NetworkDomain]):
    """Classifiers and regressors."""

    usual_attacks: ClassVar[tuple[str, ...]] = ("mia_entropy", "mia_loss", "mia_matched", "relearning")
    main_metric: ClassVar[str] = "oracle"
    config: NetworkConfig

    @property
    def domain(self) -> type[NetworkDomain]:
        """Classifiers or regressors."""
        kind: type[NetworkDomain] = DOMAINS.get(self.config.domain, "network")
        return kind

    def request(self, method: Method) -> NetworkRequest:
        """The data, and which items are to go."""
        request = read_request(self.config)
        if self._is_synthetic:
            generator_of(self.config.request.generator)
            check_rows(request.train)
        return request

    def given(self, request: NetworkRequest) -> Mapping[str, bool]:
        """Retain items, unless the method is to do without; whether classes go as such."""
        is_whole = request.is_whole or request.marked is None  # where a model must be asked, it is checked again
        has_full_weights = self.config.parameters.kind == "full"
        return {"retain": self._gives_retain(request), "whole_classes": is_whole, "full_weights": has_full_weights}

    def summary(self, request: NetworkRequest) -> str:
        """How many items are to go."""
        forget = "the hardest" if request.marked is None else f"{int(request.marked.sum())}"
        return f"{request.name}: {forget} of {len(request.train)} items to forget"

    def cannot_stop(self, request: NetworkRequest) -> str | None:
        """Only labels can be told or not."""
        return "a regressor has no recall" if self.config.domain == "regression" else None

    def environment(self, request: NetworkRequest) -> AbstractContextManager[None]:
        """As many threads as the lab was built with: their number decides the order of float additions."""
        if request.study is None:
            return nullcontext()
        from genunlearn.lab.determinism import fixed_threads

        return fixed_threads()

    # ---- models and data -------------------------------------------------------------------------------------

    def open(self, request: NetworkRequest) -> NetworkDomain:
        """The network, whose outputs must fit the items."""
        return open_network(self.config, request)

    def base_sha256(self) -> str:
        """By the files, which are not loaded."""
        return base_hash(self.config)

    def reopen(self, request: NetworkRequest, folder: Path) -> NetworkDomain:
        """The whole network."""
        return open_unlearned(self.config, request, folder / MODEL)

    def surround(self, request: NetworkRequest, model: NetworkDomain, journal: Journal) -> NetworkRequest:
        """With the items chosen that the network finds hardest, where these were asked for."""
        return request.ask(model)

    def why_no_oracle(self, request: NetworkRequest) -> str | None:
        """The lab trains some; for other networks they have to be named."""
        return why_no_oracle(self.config, request)

    def oracles(self, request: NetworkRequest) -> Sequence[NetworkDomain]:
        """One network a seed."""
        return open_oracles(self.config, request)

    def retraining_seconds(self, request: NetworkRequest) -> float | None:
        """From the cards of the lab's oracles."""
        return retraining_seconds(self.config, request)

    def splits(self, request: NetworkRequest, model: NetworkDomain, method: Method) -> Splits[AttackContext]:
        """Forget, retain and holdout items."""
        splits = self._whole(request)
        return replace(splits, retain=self._given_retain(request))

    def attacked(self, request: NetworkRequest, beside: Beside[NetworkDomain]) -> Sequence[Splits[AttackContext]]:
        """The whole request; an attacker has the retain items even where the method has not."""
        return (self._whole(request),)

    # ---- measurement -----------------------------------------------------------------------------------------

    def measure(
        self, model: NetworkDomain, request: NetworkRequest, target: str, beside: Beside[NetworkDomain]
    ) -> Measurement:
        """Results of the suite beside the oracles, and the membership curve."""
        return self._probe(request, beside).measure(model, target)

    def measure_oracles(self, request: NetworkRequest, beside: Beside[NetworkDomain]) -> Measurement:
        """Means over the oracles, with t-intervals."""
        return self._probe(request, beside).measure_oracles()

    def unknown(self, request: NetworkRequest, before: Measurement) -> list[str]:
        """What a network was trained on counts as known: whether it is told says little of membership."""
        return []

    def recall(self, model: NetworkDomain, request: NetworkRequest) -> float:
        """Accuracy on the forget set."""
        forget = request.splits().forget
        return float((model.predict(forget).argmax(1) == targets_of(forget)).float().mean())

    def damage(self, request: NetworkRequest, model: NetworkDomain, beside: Beside[NetworkDomain]) -> str | None:
        """The retain level has fallen too far; says which share of the change would have been safe."""
        retain, original = request.splits().retain, beside.original
        if not retain or original is None:
            self.watch.announce("no retain data, so that a collapse would go unseen")
            return None
        guard = Guard(original, retain, tolerance=self.config.evaluate.max_retain_loss)
        found = guard.inspect(model, original.network.state_dict())
        return str(found) if found.is_collapsed else None

    def _probe(self, request: NetworkRequest, beside: Beside[NetworkDomain]) -> NetworkProbe:
        settings = self.config.evaluate
        suite = SUITES.get(self.config.domain if settings.suite == "auto" else settings.suite, "network")
        return NetworkProbe(suite, request.measured(), request.splits().holdout or (), beside, settings.batch_size)

    def _whole(self, request: NetworkRequest) -> Splits[AttackContext]:
        return replace(request.splits(), context=AttackContext(test=request.test))

    def _gives_retain(self, request: NetworkRequest) -> bool:
        return self.config.request.retain != "none" and request.has_retain

    @property
    def _is_synthetic(self) -> bool:
        return self.config.request.retain == "synthetic"

    def _given_retain(self, request: NetworkRequest) -> Sequence[Item] | None:
        """What the method is given of what must stay: the items, synthetic ones made from them, or none."""
        retain = request.splits().retain
        if not retain or not self._gives_retain(request):
            return None
        if not self._is_synthetic:
            return retain
        check_rows(retain)
        return synthetic_items(retain, generator_of(self.config.request.generator), self.config.seed)

    # ---- what is written -------------------------------------------------------------------------------------

    def describe(self, request: NetworkRequest, model: NetworkDomain) -> tuple[dict[str, Any], dict[str, Any]]:
        """The forget set in words, and numbers of items; hashes of the base and the request."""
        splits = request.splits()
        said = {
            "model": self.config.model.source,
            "forget": request.name,
            "forget_items": len(splits.forget),
            "retain_items": len(splits.retain or ()),
            "test_items": len(request.test),
        }
        if self._is_synthetic and splits.retain:
            said["retain_given"] = f"synthetic rows by {self.config.request.generator.name}"
            fake = self._given_retain(request) or ()
            said |= cost_of(model, splits.retain, fake, request.measured()["test"])
        return said, {"base": base_hash(self.config), "request": request.sha256}

    def save(self, model: NetworkDomain, method: Method, outcome: Outcome, folder: Path) -> Written:
        """The whole network."""
        parameters.save_whole(model, folder / MODEL)
        return Written({"model": hash_files((folder / MODEL).glob("*.safetensors"))})

    def illustrate(
        self,
        attacks: Sequence[Attack[Any]],
        models: Mapping[str, NetworkDomain],
        splits: Sequence[Splits[Any]],
        folder: Path,
    ) -> list[dict[str, Any]]:
        """What networks take for the forgotten classes, by attacks that paint them."""
        return [row for attack in attacks for row in paint_classes(attack, models, splits[0], folder)]

    def finish(self, request: NetworkRequest, measured: Mapping[str, Measurement], folder: Path) -> None:
        """The membership curves."""
        curves = {target: measured[target]["roc"] for target in (ORIGINAL, UNLEARNED, ORACLE) if target in measured}
        roc = {
            "members": len(request.measured()["forget"]),
            "others": len(request.splits().holdout or ()),
            "false_positive_rates": [round(float(rate), 2) for rate in RATES],
            "true_positive_rates": {target: curve for target, curve in curves.items() if curve},
        }
        write_json(folder / CURVES, {"membership_roc": roc})
