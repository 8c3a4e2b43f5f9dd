"""``lab:cora``: a small graph of papers that cite each other, or any graph that is named, and networks taught on it.

The graph of its own is grown from a seed: each paper belongs to a field, is written with words that its field prefers,
and cites earlier papers, mostly of its field and mostly those that are cited already. It is shaped like Planetoid's
Cora and a quarter of its size.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genunlearn.contracts import Splits
from genunlearn.data.graph.graph import Graph, GraphItem, non_links
from genunlearn.data.graph.requests import GraphContext, Learnt, Task, check_request, choose, learn
from genunlearn.domains.graph.adapter import GraphModel, build_network
from genunlearn.domains.graph.fitting import GraphFit, fit
from genunlearn.errors import DataError, QualityError
from genunlearn.lab.cache import build_once, read_card, recipe_key
from genunlearn.lab.determinism import fixed_threads
from genunlearn.ops.membership import auc
from genunlearn.records import hash_json

NAME, VERSION = "cora", 1
ORACLE_SEEDS = (1, 2, 3)
HIDDEN = 64
WIDTH = 32
"""Of the embeddings whose products say whether nodes are linked."""
LEVELS: dict[str, float] = {"node": 0.7, "link": 0.65}
"""Least accuracy, or area under the curve, on the test items of the lab's own graph."""


@cache
def citations(*, papers: int = 700, fields: int = 7, words: int = 350, cites: int = 3, seed: int = 0) -> Graph:
    """A graph of papers that cite each other.

    Args:
        papers: Nodes.
        fields: Classes.
        words: Features, of which each field prefers its share.
        cites: Papers that each cites, where there are so many before it.
        seed: Decides everything.
    """
    generator = torch.Generator().manual_seed(seed)
    subject = torch.randint(fields, (papers,), generator=generator)
    likes = torch.ones(papers, words)
    likes += 4 * (torch.arange(words) % fields == subject[:, None])
    x = torch.zeros(papers, words)
    x.scatter_(1, torch.multinomial(likes, 18, generator=generator), 1.0)
    cited, pairs = torch.ones(papers), list[tuple[int, int]]()
    for paper in range(1, papers):
        weight = cited[:paper] * torch.where(subject[:paper] == subject[paper], 1.0, 0.02)
        for other in torch.multinomial(weight, min(cites, paper), generator=generator).tolist():
            pairs.append((other, paper))
            cited[other] += 1
    return Graph.of(x / x.sum(1, keepdim=True), torch.tensor(pairs).T, subject)


@dataclass(frozen=True, kw_only=True)
class GraphStudy:
    """A graph and the network that is taught on it.

    Attributes:
        graph: The whole graph.
        task: What is learnt.
        network: One of `genunlearn.domains.graph.adapter.NETWORKS`.
        split: Seed of the division into what is learnt and what is not, and of the original.
        test_share: Share that is not learnt; None for the usual one.
        settings: How it is taught.
        level: Least `score` that the original must reach on test items.
    """

    graph: Graph
    task: Task
    network: str = "gcn"
    split: int = 0
    test_share: float | None = None
    settings: GraphFit = field(default_factory=GraphFit)
    level: float = 0.0

    @cached_property
    def learnt(self) -> Learnt:
        """What is learnt, and what is not."""
        return learn(self.graph, self.task, seed=self.split, test_share=self.test_share)

    @property
    def outputs(self) -> int:
        """Classes, or the width of embeddings."""
        if self.task == "link" or self.graph.y is None:
            return WIDTH
        return int(self.graph.y.max()) + 1

    def adapter(self, graph: Graph) -> GraphModel:
        """An untrained network, asked on `graph`."""
        build = partial(build_network, self.network, graph.x.shape[1], self.outputs, hidden=HIDDEN)
        with torch.random.fork_rng(devices=[]):
            module, shape = build()
        return GraphModel(module, graph, task=self.task, shape=shape)

    def original(self, graph: Graph) -> GraphModel:
        """The network that was taught everything, asked on `graph`.

        Raises:
            QualityError: It misses `level` on the test items.
        """
        return self._read(self.folder(), graph)

    def oracle(self, splits: Splits[GraphContext], seed: int) -> GraphModel:
        """A network that was taught what stays, on the graph without what goes."""
        return self._read(self.folder(splits, seed=seed), _after(splits))

    def folder(
        self, splits: Splits[GraphContext] | None = None, *, seed: int | None = None, force: bool = False
    ) -> Path:
        """The cached folder of the original (`splits` None) or of an oracle; taught now if it is not there yet."""
        graph, items = (
            (self.learnt.graph, self.learnt.train) if splits is None else (_after(splits), splits.retain or ())
        )
        seed = self.split if seed is None else seed
        recipe = {
            "settings": asdict(self.settings),
            "network": [self.network, HIDDEN, self.outputs],
            "task": self.task,
            "seed": seed,
            "graph": graph.sha256,
            "items": hash_json([[item.id, item.target] for item in items]),
        }
        key = recipe_key(recipe, version=VERSION)
        return build_once(NAME, key, partial(self._teach, graph, items, seed, splits is not None), force=force)

    def card(self, splits: Splits[GraphContext] | None = None, *, seed: int | None = None) -> dict[str, Any]:
        """What was measured when a network was built; arguments as `folder`."""
        return read_card(self.folder(splits, seed=seed))

    def _read(self, folder: Path, graph: Graph) -> GraphModel:
        model = self.adapter(graph)
        model.load_weights(folder)
        model.module.eval()
        return model

    def _teach(
        self, graph: Graph, items: Sequence[GraphItem], seed: int, is_oracle: bool, folder: Path
    ) -> Mapping[str, Any]:
        started, worked = time.monotonic(), time.process_time()
        with fixed_threads():
            model = self.adapter(graph)
            model.reinitialise(seed)
            taught, others = self._lessons(graph, items, seed)
            loss = fit(model, taught, self.settings, seed=seed, non_links=others)
            worked = time.process_time() - worked
            measured = {"train": score(model, items), "test": score(model, self.learnt.test)}
        if not is_oracle and measured["test"] < self.level:
            raise QualityError(
                f"lab:{NAME} ({self.network}, {self.task}), seed = {seed}, misses its level: test = "
                f"{measured['test']:.3f} (at least {self.level}); try another seed"
            )
        model.save(folder)
        return {
            "kind": NAME,
            "version": VERSION,
            "network": self.network,
            "task": self.task,
            "seed": seed,
            "items": len(items),
            "is_oracle": is_oracle,
            "measured": {**measured, "loss": loss},
            "seconds": round(time.monotonic() - started, 1),
            "cpu_seconds": round(worked, 2),
        }

    def _lessons(
        self, graph: Graph, items: Sequence[GraphItem], seed: int
    ) -> tuple[Sequence[GraphItem], Callable[[], Tensor] | None]:
        """What is taught; of pairs the links, with as many others drawn anew in every epoch."""
        if self.task == "node":
            return items, None
        links = [item for item in items if item.target]
        generator = torch.Generator().manual_seed(seed)
        return links, lambda: non_links(graph, len(links), generator)


def study_of(
    graph: Graph | None, task: Task, network: str, *, split: int = 0, test_share: float | None = None
) -> GraphStudy:
    """The study of a graph; of the lab's own where `graph` is None."""
    level = 0.0 if graph is not None else LEVELS[task]
    return GraphStudy(
        graph=citations() if graph is None else graph, task=task, network=network, split=split, test_share=test_share,
        level=level,
    )  # fmt: skip


def score(model: GraphModel, items: Sequence[GraphItem]) -> float:
    """Accuracy; of pairs the area under the curve of links against others."""
    logits, targets = model.predict(items), torch.tensor([item.target for item in items])
    if model.task == "node":
        return float((logits.argmax(1) == targets).float().mean())
    return auc(logits[targets == 1, 1], logits[targets == 0, 1])[0]


def build(*, without: Sequence[str] = (), force: bool = False, progress: bool = False) -> Path:
    """Folder of the network that classifies papers, or of the first oracle of a request; it takes seconds.

    Raises:
        DataError: More than one request, or one that cannot be met.
    """
    if len(without) > 1:
        raise DataError(f"{len(without)} requests: lab:{NAME} takes one, such as nodes:0.1 or edges:0.05")
    task: Task = check_request(without[0], None)[1] if without else "node"
    study = study_of(None, task, "gcn")
    splits = choose(study.learnt, without[0]) if without else None
    return study.folder(splits, seed=ORACLE_SEEDS[0] if without else None, force=force)


def _after(splits: Splits[GraphContext]) -> Graph:
    assert splits.context is not None
    return splits.context.after
