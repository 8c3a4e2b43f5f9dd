"""Unlearning on any graph network from Python: a module of PyTorch Geometric in, one that has forgotten out."""

from __future__ import annotations

import copy
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from genunlearn.config import MethodConfig, ParametersConfig, TrainConfig, build_section
from genunlearn.contracts import Splits
from genunlearn.data.graph.files import as_graph
from genunlearn.data.graph.graph import Graph, node_items, non_links, pair_items
from genunlearn.data.graph.requests import GraphContext, Learnt, Task, check_request, choose
from genunlearn.domains.graph.adapter import GraphModel
from genunlearn.engine.journal import FileJournal
from genunlearn.engine.trainer import Trainer
from genunlearn.errors import ConfigError, DamageWarning, DataError, MismatchError
from genunlearn.evaluation.graph.predictions import told
from genunlearn.registry import require
from genunlearn.runs.methods import build_method
from genunlearn.runs.unlearning import carry_out

DEFAULTS = TrainConfig(learning_rate=0.01, batch_size=100_000, max_steps=100, save_every=100_000)
TOLERANCE = 0.05
"""How far the accuracy on what must stay may fall before a warning."""


class UnlearnedGraph(NamedTuple):
    """A network that has forgotten, and the graph that it is to be asked on.

    Attributes:
        model: A copy of the caller's module.
        graph: The graph without what was forgotten; it has ``x``, ``edge_index`` and ``y``.
    """

    model: nn.Module
    graph: Graph


def unlearn_graph(
    model: nn.Module,
    graph: Any,
    *,
    forget: str,
    task: Task | None = None,
    method: str | Mapping[str, Any] = "d2dgn",
    train: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> UnlearnedGraph:
    """Make a copy of a graph network forget nodes, features or links.

    Args:
        model: Called with ``(x, edge_index)``, returns logits over classes for each node, or the embeddings whose
            products say whether two nodes are linked.
        graph: ``torch_geometric.data.Data`` with ``x`` and ``edge_index`` as the network has learnt them, ``y`` where
            it has learnt classes, and ``train_mask`` where these are of some nodes only.
        forget: What is to be forgotten, see `genunlearn.data.graph.requests`; nodes and links by number, or a share.
        task: ``node`` or ``link``; by default what the request goes with.
        method: Name of a method, or a mapping with its ``name`` and hyper-parameters.
        train: What differs from the defaults of the loop, for instance ``{"max_steps": 50}``.
        seed: Seed of everything random.

    Warns:
        DamageWarning: What must stay is told less often.

    Raises:
        InputError: The network, the graph, the request or a setting cannot be used.
        RunError: Training failed.

    Example:
        >>> forgot, without = genunlearn.unlearn_graph(gcn, data, forget="nodes:17,42", method="gnndelete")
        >>> forgot(without.x, without.edge_index)
    """
    require("torch_geometric", "unlearn_graph")
    if not isinstance(model, nn.Module):
        raise MismatchError(f"model is of type {type(model).__name__}: give a torch.nn.Module")
    chosen = _method(method, seed)
    settings = build_section(TrainConfig, {**DEFAULTS.model_dump(), **(train or {})}, "train")
    splits = _splits(graph, forget, task, seed)
    assert splits.context is not None
    classes = max(item.target for item in splits.forget) + 1
    domain = GraphModel(copy.deepcopy(model), splits.context.after, task=check_request(forget, task)[1])
    domain.check(classes if domain.task == "node" else None)
    chosen.check(GraphModel, retain=True, facts=False, whole_classes=forget.startswith("class:"))
    before = _kept(domain, splits)
    with torch.inference_mode(False), torch.enable_grad(), tempfile.TemporaryDirectory(prefix="genunlearn-") as folder:
        trainer = Trainer(domain, settings, ParametersConfig(kind="full"), seed=seed, state=Path(folder))
        carry_out(chosen, trainer, splits, FileJournal(None), seed=seed)
    domain.module = domain.network.train(model.training)
    if (after := _kept(domain, splits)) < before - TOLERANCE:
        said = f"{chosen.name}: the share of what must stay that is told went from {before:.3f} to {after:.3f}"
        warnings.warn(f"{said}: take fewer steps, or for a fresh student more", DamageWarning, stacklevel=2)
    return UnlearnedGraph(domain.network, splits.context.after)


def _method(method: Any, seed: Any) -> Any:
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ConfigError(f"seed = {seed!r}: give a whole number, at least 0")
    given = {"name": method} if isinstance(method, str) else method
    if not isinstance(given, Mapping) or "name" not in given:
        raise ConfigError(f"method = {method!r}: give a name, or a mapping with a 'name' and hyper-parameters")
    return build_method(build_section(MethodConfig, given, "method"), family="graph", seed=seed)


def _splits(data: Any, forget: Any, task: Task | None, seed: int) -> Splits[GraphContext]:
    """The request on the caller's graph, all of whose links and training nodes have been learnt."""
    if not isinstance(forget, str):
        raise DataError(f"forget = {forget!r}: write KIND:VALUE, for instance 'nodes:3,17' or 'edges:0.05'")
    graph, task = as_graph(data), check_request(forget, task)[1]
    if task == "node":
        mask = getattr(data, "train_mask", None)
        is_learnt = torch.ones(graph.num_nodes, dtype=torch.bool) if not isinstance(mask, Tensor) else mask.cpu().bool()
        train = node_items(graph, is_learnt.nonzero().flatten())
        test = node_items(graph, (~is_learnt).nonzero().flatten())
        return choose(Learnt(task=task, graph=graph, train=train, test=test), forget, seed=seed)
    nothing = non_links(graph, len(graph.links), torch.Generator().manual_seed(seed))
    pairs = [*pair_items(graph.links, is_linked=True), *pair_items(nothing, is_linked=False)]
    return choose(Learnt(task=task, graph=graph, train=pairs, test=()), forget, seed=seed)


def _kept(domain: GraphModel, splits: Splits[GraphContext]) -> float:
    items = splits.retain or ()
    targets = torch.tensor([item.target for item in items])
    return float(told(domain.task, domain.predict(items), targets).float().mean())
