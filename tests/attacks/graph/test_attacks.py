"""Attacks on graph networks find what was left, and nothing where nothing was."""

from __future__ import annotations

import pytest
import torch

from genunlearn.attacks.graph.link_stealing import LinkStealing, strangers
from genunlearn.attacks.graph.membership import Membership
from genunlearn.attacks.graph.relearning import Relearning
from genunlearn.contracts import UNLEARNED
from genunlearn.data.graph.graph import Graph
from genunlearn.data.graph.requests import choose, learn

GRAPH = Graph.of(torch.zeros(20, 2), torch.stack([torch.arange(19), torch.arange(1, 20)]), torch.arange(20) % 2)


class Fixed:
    """A network with given embeddings; it is the same on every graph."""

    name = "graph"

    def __init__(self, rows: torch.Tensor, task: str = "link") -> None:
        self.rows, self.task = rows, task

    def on(self, graph: Graph) -> Fixed:
        return self

    def embeddings(self) -> torch.Tensor:
        return self.rows

    def predict(self, items: list) -> torch.Tensor:
        if self.task == "node":
            return torch.stack([self.rows[item.nodes[0]] for item in items])
        scores = torch.stack([(self.rows[u] * self.rows[v]).sum() for u, v in (item.nodes for item in items)])
        return torch.stack([torch.zeros_like(scores), scores], dim=1)


def test_membership_is_by_the_loss_of_the_true_class() -> None:
    learnt = learn(GRAPH, "node")
    splits = choose(learnt, "nodes:0.5")
    gone = {item.nodes[0] for item in splits.forget}
    rows = torch.tensor([[float(n in gone) * 5 * (1 - n % 2), float(n in gone) * 5 * (n % 2)] for n in range(20)])
    (found,) = Membership().run(Fixed(rows, "node"), splits, UNLEARNED)
    assert found.value == 1.0 and found.n == len(splits.forget) + len(splits.holdout)
    (nothing,) = Membership().run(Fixed(torch.zeros(20, 2), "node"), splits, UNLEARNED)
    assert nothing.value == 0.5


def test_links_are_stolen_where_linked_nodes_are_alike() -> None:
    splits = choose(learn(GRAPH, "link"), "edges:0.3")
    angles = torch.arange(20) * 0.3
    alike = torch.stack([angles.cos(), angles.sin()], dim=1)  # neighbours point nearly the same way
    (found,) = LinkStealing(likeness="cosine").run(Fixed(alike), splits, UNLEARNED)
    assert found.value > 0.85
    (nothing,) = LinkStealing(likeness="cosine").run(Fixed(torch.ones(20, 2)), splits, UNLEARNED)
    assert nothing.value == 0.5
    features = choose(learn(GRAPH, "node"), "features:0.2")
    (skipped,) = LinkStealing().run(Fixed(alike, "node"), features, UNLEARNED)
    assert skipped.skipped == "no link was deleted"


def test_strangers_were_never_linked() -> None:
    pairs = strangers(GRAPH, GRAPH.links, 0)
    assert torch.equal(pairs[:, 0], GRAPH.links[:, 0])
    assert all(abs(u - v) > 1 for u, v in pairs.tolist())


def test_relearning_looks_at_the_half_that_is_not_taught(worlds) -> None:
    world = worlds("graph")
    found = Relearning(steps=5).run(world.open(), world.splits, UNLEARNED)
    assert [result.group for result in found] == ["step 0", "step 1", "step 2", "step 5"]
    half = len(world.splits.forget) - round(0.5 * len(world.splits.forget))
    assert {result.n for result in found} == {half} and {result.name for result in found} == {"relearning_accuracy"}
    assert found[0].value == pytest.approx(1.0, abs=0.5)
    few = choose(learn(GRAPH, "node"), "nodes:3")
    (skipped,) = Relearning().run(Fixed(torch.zeros(20, 2), "node"), few, UNLEARNED)
    assert skipped.skipped == "needs more than 1 forget items to divide"
