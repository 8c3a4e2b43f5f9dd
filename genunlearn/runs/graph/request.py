"""What a run on a graph network is about: its graph, its forget set, its model and oracles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from genunlearn.config.graph import GraphConfig
from genunlearn.contracts import Splits
from genunlearn.data.graph.files import read_graph
from genunlearn.data.graph.graph import Graph, GraphItem
from genunlearn.data.graph.requests import GraphContext, Learnt, Task, check_request, choose, learn
from genunlearn.domains.graph.adapter import GraphModel, build_network, read_shape
from genunlearn.domains.sources import resolve_folder
from genunlearn.errors import ConfigError, DataError, MismatchError
from genunlearn.lab.graph.cora import NAME, ORACLE_SEEDS, GraphStudy, study_of
from genunlearn.records import hash_files, hash_json
from genunlearn.registry import LAB, unknown_name

LEAST_LEFT = 6
"""Learnt elements that a request leaves at least: fewer cannot be told from none by exact 95% intervals."""


@dataclass(frozen=True, kw_only=True)
class GraphRequest:
    """A resolved request, before any model has loaded.

    Attributes:
        name: The forget set in words, for instance ``edges:0.05``.
        learnt: What the original has learnt.
        splits: Forget, retain and holdout items, with the graphs before and after in their context.
        study: The lab's study; None for a network from a folder.
    """

    name: str
    learnt: Learnt
    splits: Splits[GraphContext]
    study: GraphStudy | None = None

    @property
    def context(self) -> GraphContext:
        """The graphs of the request."""
        assert self.splits.context is not None
        return self.splits.context

    @property
    def task(self) -> Task:
        """``node`` or ``link``."""
        return self.learnt.task

    @property
    def classes(self) -> int | None:
        """How many classes nodes have, where they are learnt."""
        return max(item.target for item in self.learnt.train) + 1 if self.task == "node" else None

    def measured(self) -> dict[str, list[GraphItem]]:
        """What is looked at, by group; test nodes of a forgotten class stand by themselves."""
        is_class = self.name.startswith("class:")
        apart = list(self.splits.holdout or ()) if is_class else []
        names = {item.id for item in apart}
        return {
            "forget": list(self.splits.forget),
            "retain": list(self.splits.retain or ()),
            "test": [item for item in self.learnt.test if item.id not in names],
            "test_forget": apart,
        }

    @property
    def sha256(self) -> str:
        """Hash of the graph, of its division, and of what is to go."""
        sides = (self.learnt.train, self.learnt.test, self.splits.forget)
        return hash_json([self.learnt.graph.sha256, *([item.id for item in side] for side in sides), self.name])


def read_request(config: GraphConfig) -> GraphRequest:
    """Read and check what a configuration asks to be forgotten, without loading weights.

    Raises:
        ConfigError: Nothing is to be forgotten, or model and data do not go together.
        DataError: The graph or the forget set cannot be used.
        SourceNotFound: Model or data are not there.
    """
    asked, source = config.request, config.model.source
    if config.model.quantize != "none":
        raise ConfigError(f"model.quantize = {config.model.quantize!r}: language models only; set it to none")
    if not asked.forget:
        raise ConfigError("request.forget is empty: write KIND:VALUE, for instance nodes:0.1 or edges:0.05")
    is_lab = source.startswith(LAB)
    if is_lab and source != f"{LAB}{NAME}":
        raise unknown_name("lab of a graph network", source.removeprefix(LAB), [NAME])
    if not is_lab and asked.data is None:
        raise ConfigError("request.data is not given: name the graph that the network was trained on")
    shapes = [] if is_lab else [read_shape(resolve_folder(source, config.model.revision))]
    shapes += [read_shape(resolve_folder(folder)) for folder in config.evaluate.oracle_folders]
    _, task = check_request(asked.forget, shapes[0]["task"] if not is_lab else _task_of(config))
    graph = None if asked.data is None else read_graph(asked.data)
    if is_lab:
        study = study_of(graph, task, config.model.network, split=asked.split, test_share=asked.test_share)
        learnt = study.learnt
    else:
        assert graph is not None
        study, learnt = None, learn(graph, task, seed=asked.split, test_share=asked.test_share)
    for shape in shapes:
        _check_shape(shape, task, learnt.graph)
    splits = choose(learnt, asked.forget, seed=config.seed)
    _check_rest(splits, learnt, asked.forget)
    return GraphRequest(name=asked.forget, learnt=learnt, splits=splits, study=study)


def _check_rest(splits: Splits[GraphContext], learnt: Learnt, forget: str) -> None:
    """Refuse to forget all but so few elements that nobody could see what becomes of them."""
    what = "nodes" if learnt.task == "node" else "links"
    left, every = (
        sum(learnt.task == "node" or item.target > 0 for item in items) for items in (splits.retain or (), learnt.train)
    )
    if left < LEAST_LEFT:
        raise DataError(
            f"request.forget = {forget!r} leaves {left} of {every} learnt {what}: what must stay cannot be measured on "
            f"fewer than {LEAST_LEFT}; ask for less, or delete the network"
        )


def _task_of(config: GraphConfig) -> Task | None:
    return None if config.request.task == "auto" else config.request.task


def _check_shape(shape: dict[str, Any], task: Task, graph: Graph) -> None:
    if shape["task"] != task:
        raise MismatchError(f"the saved networks differ in their task: {shape['task']} and {task}")
    if (features := graph.x.shape[1]) != shape["features"]:
        raise MismatchError(f"the graph has {features} features a node, and the network takes {shape['features']}")


# ---- models -----------------------------------------------------------------------------------------------------


def open_graph_model(config: GraphConfig, request: GraphRequest) -> GraphModel:
    """The network that is to forget, with its weights, on the graph without what is to be forgotten."""
    graph = request.context.after
    model = request.study.original(graph) if request.study else _open_folder(_folder(config), graph)
    model.check(request.classes)
    return model


def open_oracles(config: GraphConfig, request: GraphRequest) -> tuple[GraphModel, ...]:
    """Networks that never saw the forget set; the lab teaches those that are not cached."""
    graph = request.context.after
    if config.evaluate.oracle_folders:
        return tuple(_open_folder(resolve_folder(folder), graph) for folder in config.evaluate.oracle_folders)
    if request.study is None:
        return ()
    return tuple(request.study.oracle(request.splits, seed) for seed in ORACLE_SEEDS[: config.evaluate.oracles])


def retraining_seconds(config: GraphConfig, request: GraphRequest) -> float | None:
    """Mean CPU seconds that it took to teach an oracle of the lab; None where nobody knows."""
    if request.study is None or config.evaluate.oracle_folders:
        return None
    cards = [request.study.card(request.splits, seed=seed) for seed in ORACLE_SEEDS[: config.evaluate.oracles]]
    return fmean(float(card["cpu_seconds"]) for card in cards) if cards else None


def why_no_oracle(config: GraphConfig, request: GraphRequest) -> str | None:
    """The reason why a run has no oracle; None where it has one."""
    if config.evaluate.oracle_folders or (request.study and config.evaluate.oracles):
        return None
    if request.study:
        return "evaluate.oracles = 0"
    return "none is given for this network: name some in evaluate.oracle_folders"


def base_hash(config: GraphConfig, request: GraphRequest) -> str:
    """SHA-256 that identifies the weights before unlearning."""
    if request.study:
        return hash_files(request.study.folder().glob("*.safetensors"))
    return hash_files(_folder(config).glob("*.safetensors"))


def _folder(config: GraphConfig) -> Path:
    return resolve_folder(config.model.source, config.model.revision)


def _open_folder(folder: Path, graph: Graph) -> GraphModel:
    said = read_shape(folder)
    sizes = {key: said[key] for key in ("hidden", "layers")}
    module, shape = build_network(said["network"], said["features"], said["outputs"], **sizes)
    model = GraphModel(module, graph, task=said["task"], shape=shape)
    model.load_weights(folder)
    model.module.eval()
    return model
