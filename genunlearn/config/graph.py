"""A run on a graph network: which nodes, features or links are to be forgotten, and what is measured."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from genunlearn.config.sections import (
    EvaluateConfig,
    MethodConfig,
    ModelConfig,
    ParametersConfig,
    RequestConfig,
    TrainConfig,
    UnlearnConfig,
)


class GraphModelConfig(ModelConfig):
    """Which graph network."""

    source: Annotated[str, Field(min_length=1)] = "lab:cora"
    """``lab:cora``, taught on its own graph or on ``request.data``; or the folder of a network that a run has saved."""
    network: Literal["gcn", "gat", "gin", "graph_sage"] = "gcn"
    """What the lab teaches; a saved network says what it is."""


class GraphRequestConfig(RequestConfig):
    """What a graph network is to forget."""

    forget: str | None = None
    """``KIND:VALUE``: ``nodes:0.1``, ``nodes:3,17``, ``class:2``, ``features:0.1``; ``edges:0.05``, ``edges:3-17``,
    ``edges_in:0.05`` or ``edges_out:0.05`` (within or beyond two hops of the links of the test set)."""
    task: Literal["auto", "node", "link"] = "auto"
    """What the network does: classes of nodes, or links; by default what the request goes with."""
    data: str | None = None
    """Folder of Planetoid's Cora, or an ``.npz`` file with ``x``, ``edge_index`` and ``y``; the lab has its own."""
    split: Annotated[int, Field(ge=0)] = 0
    """Seed of the division into what is learnt and what is kept for the test, and of the lab's original."""
    test_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of nodes or links that are kept for the test; by default 0.2 of nodes and 0.05 of links."""
    retain: Literal["all", "none"] = "all"
    """Whether the method is given what must stay; it is measured in either case."""


class GraphEvaluateConfig(EvaluateConfig):
    """What is measured on a graph network, before and after."""

    suite: str = "auto"
    """``auto`` is that of the task: ``nodes`` or ``links``."""
    oracles: Annotated[int, Field(ge=0, le=3)] = 3
    """Networks of the lab that are taught without the forget set, one a seed."""
    oracle_folders: tuple[str, ...] = ()
    """Saved networks from elsewhere that never saw the forget set."""
    max_retain_loss: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Loss of accuracy on nodes that must stay that counts as a collapse; for links of the share that scores above half
    of the pairs without one."""


class GraphConfig(UnlearnConfig):
    """A run on a graph network."""

    domain: Literal["graph"] = "graph"
    model: GraphModelConfig = GraphModelConfig()
    method: MethodConfig = MethodConfig(name="d2dgn")
    parameters: ParametersConfig = ParametersConfig(kind="full")
    train: TrainConfig = TrainConfig(learning_rate=0.01, batch_size=100_000, max_steps=100, save_every=100)
    request: GraphRequestConfig = GraphRequestConfig()
    evaluate: GraphEvaluateConfig = GraphEvaluateConfig()
