"""Graph networks: what they answer about nodes and pairs, and what does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from genunlearn.data.graph.graph import Graph, GraphItem
from genunlearn.domains.graph.adapter import NETWORKS, GraphModel, build_network, read_shape
from genunlearn.domains.graph.layers import DeletionLayer, message_layers
from genunlearn.errors import MismatchError, SourceNotFound

GRAPH = Graph.of(torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]]), torch.tensor([[0], [1]]), torch.tensor([0, 1, 0]))


class Sums(nn.Module):
    """One layer of one's own: each node adds up its neighbours and itself, and multiplies."""

    def __init__(self, width: int = 2) -> None:
        super().__init__()
        from torch_geometric.nn import SAGEConv

        self.first = SAGEConv(2, width, aggr="sum", bias=False)
        with torch.no_grad():
            self.first.lin_l.weight.copy_(torch.eye(width, 2))
            self.first.lin_r.weight.copy_(torch.eye(width, 2))

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        return self.first(x, edge_index)


def node(number: int, target: int = 0) -> GraphItem:
    return GraphItem(id=f"node {number}", nodes=(number,), target=target)


def test_answers_about_nodes_and_pairs_by_hand() -> None:
    # Sums: node 0 has (1, 0) + (0, 2), node 1 the same, node 2 nobody: (3, 0).
    model = GraphModel(Sums(), GRAPH)
    assert model.predict([node(0), node(2)]).tolist() == [[1.0, 2.0], [3.0, 0.0]]
    pairs = GraphModel(Sums(), GRAPH, task="link")
    items = [GraphItem(id="a", nodes=(0, 1), target=1), GraphItem(id="b", nodes=(0, 2), target=0)]
    # (1, 2) . (1, 2) = 5 and (1, 2) . (3, 0) = 3; the softmax of (0, s) is the sigmoid of s.
    assert pairs.predict(items).tolist() == [[0.0, 5.0], [0.0, 3.0]]
    losses = pairs.example_loss(pairs.collate(items))
    assert losses.tolist() == pytest.approx([torch.log1p(torch.tensor(-5.0).exp()).item(), 3.0486], abs=1e-4)


def test_without_the_link_the_messages_are_gone() -> None:
    model = GraphModel(Sums(), GRAPH.without_links(torch.tensor([True])))
    assert model.predict([node(0), node(1)]).tolist() == [[1.0, 0.0], [0.0, 2.0]]


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_shipped_network_is_built_asked_and_read_again(kind: str, tmp_path: Path) -> None:
    module, shape = build_network(kind, 2, 3, hidden=4)
    model = GraphModel(module, GRAPH, shape=shape)
    model.check(3)
    assert len(message_layers(module)) == 2
    model.reinitialise(5)
    model.save(tmp_path)
    said = read_shape(tmp_path)
    assert (said["network"], said["task"]) == (kind, "node")
    other = GraphModel(build_network(kind, 2, 3, hidden=4)[0], GRAPH)
    other.load_weights(tmp_path)
    assert torch.equal(model.predict([node(0)]), other.predict([node(0)]))


def test_what_does_not_fit_is_one_clear_line(tmp_path: Path) -> None:
    module, _ = build_network("gcn", 5, 3, hidden=4)
    with pytest.raises(MismatchError, match="cannot be asked on a graph of 3 nodes with 2 features each"):
        GraphModel(module, GRAPH).check()
    with pytest.raises(MismatchError, match="the network has 2 outputs, and nodes have 3 classes"):
        GraphModel(Sums(), GRAPH).check(3)
    with pytest.raises(MismatchError, match="no layer that passes messages"):
        GraphModel(nn.Linear(2, 2), GRAPH).check()
    with pytest.raises(SourceNotFound, match=r"no network\.json"):
        read_shape(tmp_path)
    (tmp_path / "network.json").write_text('{"network": "gcn", "task": "node", "features": -1}')
    with pytest.raises(SourceNotFound, match="damaged"):
        read_shape(tmp_path)


def test_a_deletion_layer_by_hand() -> None:
    network = Sums()
    network.first = DeletionLayer(network.first, torch.tensor([True, False, False]), 2)
    # Node 0 says (1, 2) W with W = 0.001 everywhere: 0.003 twice; the others are left alone.
    rows = GraphModel(network, GRAPH).embeddings()
    assert rows.tolist() == [pytest.approx([0.003, 0.003]), [1.0, 2.0], [3.0, 0.0]]
    assert message_layers(network) == ("first",)


def test_a_network_with_deletion_layers_is_saved_and_read_again(tmp_path: Path) -> None:
    network = Sums()
    network.first = DeletionLayer(network.first, torch.tensor([True, False, True]), 2)
    model = GraphModel(network, GRAPH)
    model.save(tmp_path)
    other = GraphModel(Sums(), GRAPH)
    other.load_weights(tmp_path)
    assert torch.equal(model.embeddings(), other.embeddings())
    with pytest.raises(MismatchError, match="weights of another architecture"):
        GraphModel(build_network("gcn", 2, 3, hidden=4)[0], GRAPH).load_weights(tmp_path)
