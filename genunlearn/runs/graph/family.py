"""Graph networks as a run sees them: nodes, features and links to forget, oracles of several seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from genunlearn.config.graph import GraphConfig
from genunlearn.contracts import ORIGINAL, UNLEARNED, Beside, Method, Outcome, Splits
from genunlearn.contracts.family import Family, Measurement, Written
from genunlearn.data.graph.requests import GraphContext
from genunlearn.domains.graph.adapter import GraphModel
from genunlearn.engine import parameters
from genunlearn.evaluation.damage import what_fell
from genunlearn.lab.determinism import fixed_threads
from genunlearn.ops.verdicts import Share
from genunlearn.records import hash_files
from genunlearn.registry import SUITES
from genunlearn.runs.graph.measure import GraphProbe
from genunlearn.runs.graph.request import (
    GraphRequest,
    base_hash,
    open_graph_model,
    open_oracles,
    read_request,
    retraining_seconds,
    why_no_oracle,
)

SUITE_OF = {"node": "nodes", "link": "links"}


class GraphFamily(Family[GraphRequest, GraphModel]):
    """Graph networks."""

    usual_attacks: ClassVar[tuple[str, ...]] = ("membership", "relearning", "link_stealing")
    main_metric: ClassVar[str] = "oracle"
    domain = GraphModel
    config: GraphConfig

    def request(self, method: Method) -> GraphRequest:
        """The graph, and what of it is to go."""
        return read_request(self.config)

    def given(self, request: GraphRequest) -> Mapping[str, bool]:
        """Retain items, unless the method is to do without."""
        has_full_weights = self.config.parameters.kind == "full"
        is_class = request.name.startswith("class:")
        return {"retain": self._gives_retain, "whole_classes": is_class, "full_weights": has_full_weights}

    def summary(self, request: GraphRequest) -> str:
        """How much is to go."""
        what = "nodes" if request.task == "node" else "links"
        known = sum(item.target > 0 or request.task == "node" for item in request.learnt.train)
        return f"{request.name}: {len(request.splits.forget)} of {known} learnt {what} to forget"

    def cannot_stop(self, request: GraphRequest) -> str | None:
        """Nothing stands in the way: a class is told or not, and so is a link."""
        return None

    def environment(self, request: GraphRequest) -> AbstractContextManager[None]:
        """As many threads as the lab was built with: their number decides the order of float additions."""
        return nullcontext() if request.study is None else fixed_threads()

    # ---- models and data -------------------------------------------------------------------------------------

    def open(self, request: GraphRequest) -> GraphModel:
        """The network, on the graph without what is to be forgotten."""
        return open_graph_model(self.config, request)

    def why_no_oracle(self, request: GraphRequest) -> str | None:
        """The lab teaches some; for other networks they have to be named."""
        return why_no_oracle(self.config, request)

    def oracles(self, request: GraphRequest) -> Sequence[GraphModel]:
        """One network a seed."""
        return open_oracles(self.config, request)

    def retraining_seconds(self, request: GraphRequest) -> float | None:
        """From the cards of the lab's oracles."""
        return retraining_seconds(self.config, request)

    def splits(self, request: GraphRequest, model: GraphModel, method: Method) -> Splits[GraphContext]:
        """Forget, retain and holdout items, with the graphs of the request."""
        return request.splits if self._gives_retain else replace(request.splits, retain=None)

    def attacked(self, request: GraphRequest, beside: Beside[GraphModel]) -> Sequence[Splits[GraphContext]]:
        """The whole request; an attacker has the retain items even where the method has not."""
        return (request.splits,)

    @property
    def _gives_retain(self) -> bool:
        return self.config.request.retain == "all"

    # ---- measurement -----------------------------------------------------------------------------------------

    def measure(self, model: GraphModel, request: GraphRequest, target: str, beside: Beside[GraphModel]) -> Measurement:
        """Results of the suite beside original and oracles."""
        return self._probe(request, beside).measure(model, target)

    def measure_oracles(self, request: GraphRequest, beside: Beside[GraphModel]) -> Measurement:
        """Means over the oracles, with t-intervals."""
        return self._probe(request, beside).measure_oracles()

    def unknown(self, request: GraphRequest, before: Measurement) -> list[str]:
        """What a network was trained on counts as known: whether it is told says little of membership."""
        return []

    def recall(self, model: GraphModel, request: GraphRequest) -> float:
        """Share of the forget set that is told: the class of a node, or that two nodes are linked."""
        targets = [item.target for item in request.splits.forget]
        told = model.predict(request.splits.forget).argmax(1).tolist()
        return sum(one == other for one, other in zip(told, targets, strict=True)) / len(targets)

    def damage(self, request: GraphRequest, model: GraphModel, beside: Beside[GraphModel]) -> str | None:
        """What must stay is told less often, and by more than it may."""
        before, after = (beside.measured[target]["kept"] for target in (ORIGINAL, UNLEARNED))
        then, now = (Share(sum(kept), len(kept)) for kept in (before, after))
        what = "accuracy on what must stay" if request.task == "node" else "the share of links that stay and are told"
        return what_fell(what, then, now, self.config.evaluate.max_retain_loss)

    def _probe(self, request: GraphRequest, beside: Beside[GraphModel]) -> GraphProbe:
        named = self.config.evaluate.suite
        suite = SUITES.get(SUITE_OF[request.task] if named == "auto" else named, "graph")
        return GraphProbe(suite, request.measured(), beside)

    # ---- what is written -------------------------------------------------------------------------------------

    def describe(self, request: GraphRequest, model: GraphModel) -> tuple[dict[str, Any], dict[str, Any]]:
        """The forget set in words, and sizes; hashes of the base and the request."""
        context = request.context
        said = {
            "model": self.config.model.source,
            "network": (model.shape or {}).get("network", type(model.network).__name__),
            "task": request.task,
            "forget": request.name,
            "graph": f"{context.before.num_nodes:,} nodes, {len(context.before.links):,} learnt links",
            "forget_items": len(request.splits.forget),
            "links_gone": len(context.severed),
            "retain_items": len(request.splits.retain or ()),
            "test_items": len(request.learnt.test),
        }
        return said, {"base": base_hash(self.config, request), "request": request.sha256}

    def save(self, model: GraphModel, method: Method, outcome: Outcome, folder: Path) -> Written:
        """The whole network."""
        parameters.save_whole(model, folder / "model")
        return Written({"model": hash_files((folder / "model").glob("*.safetensors"))})
