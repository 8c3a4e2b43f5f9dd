"""D2DGN and GNNDelete by hand, and what they do to a small graph."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from genunlearn.config import ParametersConfig, TrainConfig
from genunlearn.contracts import Batch
from genunlearn.data.extras import with_extras
from genunlearn.data.graph.graph import Graph, GraphItem
from genunlearn.domains.graph.adapter import GraphModel
from genunlearn.domains.graph.layers import DeletionLayer
from genunlearn.engine.journal import FileJournal
from genunlearn.engine.trainer import Trainer
from genunlearn.methods.graph.d2dgn import ANSWER, D2DGN, LAYER, Distillation, layer_answers
from genunlearn.methods.graph.gnndelete import GNNDelete, LayerMatching

GRAPH = Graph.of(torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]), torch.tensor([[0], [1]]))


class Twice(nn.Module):
    """A message-passing layer that doubles: nobody's messages count."""

    def __init__(self) -> None:
        super().__init__()
        from torch_geometric.nn import SAGEConv

        self.only = SAGEConv(2, 2, bias=False)
        with torch.no_grad():
            self.only.lin_l.weight.zero_()
            self.only.lin_r.weight.copy_(2 * torch.eye(2))

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        return self.only(x, edge_index)


def node(number: int) -> GraphItem:
    return GraphItem(id=f"node {number}", nodes=(number,), target=0)


def values(terms: Any) -> dict[str, float]:
    return {name: term.coefficient * term.sum.item() for name, term in terms.items()}


def test_the_response_form_by_hand() -> None:
    # The student answers node 2 with logits (2, 2), one half each, and node 0 with (2, 0).
    # Destroyer (3/4, 1/4): KL = 3/4 ln(3/2) + 1/4 ln(1/2); the preserver answers as the student does: 0.
    model = GraphModel(Twice(), GRAPH)
    forget = with_extras([node(2)], **{ANSWER: torch.tensor([[0.75, 0.25]]).log()})
    retain = with_extras([node(0)], **{ANSWER: torch.tensor([[2.0, 0.0]])})
    batch = Batch(forget=model.collate(forget), retain=model.collate(retain))
    found = values(Distillation(knowledge="response", alpha=0.2).loss(batch, model, None))
    apart = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert found == {"forget": pytest.approx(0.8 * apart), "retain": pytest.approx(0.0, abs=1e-6)}


def test_the_feature_form_of_pairs_compares_products_layer_by_layer() -> None:
    # The layer says (2, 0) of node 0 and (2, 2) of node 2: the product of the pair is 4, the teacher's 1, squared 9.
    model = GraphModel(Twice(), GRAPH, task="link")
    pair = GraphItem(id="pair", nodes=(0, 2), target=1)
    assert [layer.tolist() for layer in layer_answers(model, model.collate([pair]))] == [[[4.0]]]
    forget = with_extras([pair], **{f"{LAYER}0": torch.tensor([[1.0]])})
    found = values(Distillation(knowledge="feature", alpha=0.5).loss(Batch(forget=model.collate(forget)), model, None))
    assert found == {"forget": pytest.approx(4.5)}


def test_layer_matching_by_hand() -> None:
    # A deletion operator of ones makes (1, 0) * 2 = (2, 0) into (2, 2); aims (0, 0) and (2, 4): squares 4 and 2.
    network = Twice()
    network.only = DeletionLayer(network.only, torch.tensor([True, False, False]), 2)
    nn.init.ones_(network.only.deletion)
    model = GraphModel(network, GRAPH)
    forget = with_extras([node(0)], original_layer_0=torch.tensor([[0.0, 0.0]]))
    retain = with_extras([node(1)], original_layer_0=torch.tensor([[2.0, 4.0]]))  # node 1 says (0, 4)
    batch = Batch(forget=model.collate(forget), retain=model.collate(retain))
    found = values(LayerMatching(alpha=0.25).loss(batch, model, None))
    assert found == {"forget": pytest.approx(0.25 * 4), "retain": pytest.approx(0.75 * 2)}


def carry_out(world: Any, method: Any, steps: int = 30) -> GraphModel:
    model = world.open()
    settings = TrainConfig(learning_rate=0.03, batch_size=1000, max_steps=steps, save_every=1000)
    trainer = Trainer(model, settings, ParametersConfig(kind="full"), seed=0)
    method.run(trainer, model, world.splits, FileJournal(None))
    model.module.eval()
    return model


def right(model: GraphModel, items: Any) -> float:
    return float((model.predict(items).argmax(1) == torch.tensor([item.target for item in items])).float().mean())


@pytest.mark.parametrize("student", ["fresh", "original"])
@pytest.mark.parametrize("knowledge", ["response", "feature"])
def test_d2dgn_keeps_what_stays_and_answers_the_rest_like_the_destroyer(worlds, student: str, knowledge: str) -> None:
    world = worlds("graph")
    method = D2DGN(student=student, knowledge=knowledge)
    model = carry_out(world, method, steps=80)
    assert right(model, world.splits.retain) > 0.9
    sure = [one.predict(world.splits.forget).softmax(1).max(1).values.mean() for one in (world.open(), model)]
    assert sure[1] < sure[0] - 0.1


def test_gnndelete_moves_its_operators_alone_and_leaves_far_nodes_as_they_were(worlds) -> None:
    world = worlds("graph")
    model = carry_out(world, GNNDelete())
    before, after = dict(world.open().network.named_parameters()), dict(model.network.named_parameters())
    operators = [name for name in after if name.endswith(".deletion")]
    assert len(operators) == 2 and all(not torch.all(after[name] == 1e-3) for name in operators)
    kept = {name.replace(".conv.", "."): weight for name, weight in after.items() if name not in operators}
    assert kept.keys() == before.keys() and all(torch.equal(kept[name], before[name]) for name in before)
    context = world.splits.context
    far = ~context.before.near(context.touched, 2)
    assert far.any() and torch.equal(world.open().embeddings()[far], model.embeddings()[far])
    assert world.forget_loss(model) > world.forget_loss(world.open()) + 0.05
