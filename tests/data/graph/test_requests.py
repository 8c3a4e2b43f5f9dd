"""Requests on graphs: what goes, what the graph is without it, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from genunlearn.data.graph.files import as_graph, read_graph
from genunlearn.data.graph.graph import Graph, non_links
from genunlearn.data.graph.requests import Learnt, choose, learn
from genunlearn.errors import DataError, MismatchError, SourceNotFound

# 0 - 1 - 2 - 3 - 4 - 5 - 6 - 7, a chain of two classes.
CHAIN = Graph.of(torch.eye(8), torch.stack([torch.arange(7), torch.arange(1, 8)]), torch.arange(8) // 4)


@pytest.fixture
def nodes() -> Learnt:
    """All nodes but 0 and 7 are learnt."""
    whole = learn(CHAIN, "node", test_share=0.25)
    items = sorted([*whole.train, *whole.test], key=lambda item: item.nodes)
    return Learnt(task="node", graph=CHAIN, train=items[1:7], test=[items[0], items[7]])


@pytest.fixture
def links() -> Learnt:
    """The link 0-1 is kept for the test, with a pair that has none."""
    whole = learn(CHAIN, "link", test_share=0.2)
    pairs = [*whole.train, *whole.test]
    test = [item for item in pairs if item.nodes == (0, 1)]
    return Learnt(
        task="link",
        graph=CHAIN.without_links(torch.tensor([True] + 6 * [False])),
        train=[item for item in pairs if item.nodes != (0, 1)],
        test=test,
    )


def numbers(items: object) -> list[tuple[int, ...]]:
    return sorted(item.nodes for item in items)


def test_edges_in_both_directions_loops_and_doubles_are_one_link() -> None:
    made = Graph.of(torch.eye(3), torch.tensor([[0, 1, 2, 2, 0], [1, 0, 2, 1, 1]]))
    assert made.links.tolist() == [[0, 1], [1, 2]]
    assert made.edge_index.tolist() == [[0, 1, 1, 2], [1, 2, 0, 1]]


def test_deleted_nodes_lose_their_links_and_keep_their_features_for_who_asks(nodes: Learnt) -> None:
    splits = choose(nodes, "nodes:2,5")
    context = splits.context
    assert numbers(splits.forget) == [(2,), (5,)] and numbers(splits.retain) == [(1,), (3,), (4,), (6,)]
    assert context.severed.tolist() == [[1, 2], [2, 3], [4, 5], [5, 6]]
    assert context.after.links.tolist() == [[0, 1], [3, 4], [6, 7]]
    assert torch.equal(context.after.x, CHAIN.x)
    # Unseen nodes are asked as forgotten ones are: without their links.
    assert context.holdout_graph.links.tolist() == [[3, 4]]


def test_a_class_goes_with_all_its_learnt_nodes(nodes: Learnt) -> None:
    splits = choose(nodes, "class:1")
    assert numbers(splits.forget) == [(4,), (5,), (6,)]
    assert numbers(splits.holdout) == [(7,)]


def test_features_go_and_links_stay(nodes: Learnt) -> None:
    context = choose(nodes, "features:2").context
    assert context.after.x[2].sum() == 0 and context.after.x.sum() == 7
    assert torch.equal(context.after.links, CHAIN.links) and not len(context.severed)
    assert context.holdout_graph.x.sum() == 5


def test_links_go_from_the_graph_and_retain_has_pairs_without_one(links: Learnt) -> None:
    splits = choose(links, "edges:3-2,6-7")
    assert numbers(splits.forget) == [(2, 3), (6, 7)]
    assert splits.context.after.links.tolist() == [[1, 2], [3, 4], [4, 5], [5, 6]]
    assert {item.target for item in splits.forget} == {1}
    kept = [item for item in splits.retain if item.target]
    assert numbers(kept) == [(1, 2), (3, 4), (4, 5), (5, 6)]
    others = {item.nodes for item in splits.retain if not item.target}
    assert others and not others & {tuple(link) for link in CHAIN.links.tolist()}


def test_inside_is_within_two_hops_of_a_test_link_and_outside_is_not(links: Learnt) -> None:
    # The test link has the ends 0 and 1; over learnt links 1 reaches 2 and 3, and 0 nothing.
    assert numbers(choose(links, "edges_in:0.33").forget) == [(1, 2), (2, 3)]
    outside = {(3, 4), (4, 5), (5, 6), (6, 7)}
    assert set(numbers(choose(links, "edges_out:0.5", seed=3).forget)) < outside
    with pytest.raises(DataError, match="asks for 3 of 2 that there are"):
        choose(links, "edges_in:0.5")


def test_a_node_of_a_network_that_predicts_links_takes_its_links(links: Learnt) -> None:
    assert numbers(choose(links, "nodes:4").forget) == [(3, 4), (4, 5)]


@pytest.mark.parametrize(
    ("request_", "complaint"),
    [
        ("nodes:99", "node 99 is not in the graph, which has nodes 0 to 7"),
        ("nodes:-1", "node -1 is not in the graph"),
        ("nodes:0", "node 0 was never learnt"),
        ("nodes:", "nothing is named"),
        ("nodes:x", "'x' is no whole number"),
        ("nodes:0.01", "marks nothing"),
        ("nodes:1.5", "'1.5' is no share"),
        ("nodes:1,2,3,4,5,6", "marks all 6 learnt nodes: nothing would be left"),
        ("class:7", "class 7 is none of 0, 1"),
        ("class:0,1", "marks all 6 learnt nodes"),
        ("edges:0.1", "a network that classifies nodes forgets nodes, class, features"),
        ("paths:3", "KIND one of nodes, class, features, edges"),
        ("nodes", "write it as KIND:VALUE"),
    ],
)
def test_a_request_that_cannot_be_met_is_one_clear_line(nodes: Learnt, request_: str, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint) as caught:
        choose(nodes, request_)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("request_", "complaint"),
    [
        ("edges:0-1", "'0-1' is no learnt link"),
        ("edges:1-5", "'1-5' is no learnt link"),
        ("edges:1-2-3", "'1-2-3' is no learnt link"),
        ("edges:1-2,2-3,3-4,4-5,5-6,6-7", "marks all 6 learnt links"),
        ("edges:0.99", "marks all 6 learnt links"),
        ("edges:many", "'many' is no share"),
        ("features:2", "a network that predicts links forgets edges"),
    ],
)
def test_links_that_cannot_go_are_one_clear_line(links: Learnt, request_: str, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        choose(links, request_)


def test_the_seed_alone_decides_what_is_drawn() -> None:
    graph = Graph.of(torch.eye(40), torch.stack([torch.arange(39), torch.arange(1, 40)]), torch.arange(40) % 2)
    for task, request in (("node", "nodes:0.3"), ("link", "edges:0.3")):
        learnt = learn(graph, task)
        first, again, other = (numbers(choose(learnt, request, seed=seed).forget) for seed in (1, 1, 2))
        assert first == again != other
    generator = torch.Generator().manual_seed(0)
    pairs = {tuple(pair) for pair in non_links(graph, 100, generator).tolist()}
    assert len(pairs) == 100 and not pairs & {tuple(link) for link in graph.links.tolist()}
    with pytest.raises(DataError, match="too dense, or too small"):
        non_links(CHAIN, 20, generator)


def test_a_graph_is_read_from_arrays_and_faults_are_named(tmp_path: Path) -> None:
    edges, path = CHAIN.edge_index.numpy(), tmp_path / "graph.npz"
    np.savez(path, x=CHAIN.x.numpy(), edge_index=edges, y=CHAIN.y.numpy())
    assert read_graph(path).sha256 == CHAIN.sha256
    np.savez(path, x=CHAIN.x.numpy())
    with pytest.raises(DataError, match="has no array 'edge_index'"):
        read_graph(path)
    np.savez(path, x=CHAIN.x.numpy(), edge_index=np.array([[0], [8]]))
    with pytest.raises(DataError, match="edge_index names node 8: the graph has nodes 0 to 7"):
        read_graph(path)
    np.savez(path, x=np.array([object()]), edge_index=edges)
    with pytest.raises(DataError, match="not a file of arrays"):
        read_graph(path)
    with pytest.raises(SourceNotFound, match="no graph there"):
        read_graph(tmp_path / "nothing")
    with pytest.raises(DataError, match="graph is a str"):
        as_graph("cora")


def test_a_pickle_that_is_not_the_published_one_is_never_opened(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    harmful = f"cos\nsystem\n(S'touch {mark}'\ntR.".encode()
    for name in ("allx", "ally", "graph", "test.index", "tx", "ty", "x", "y"):
        (tmp_path / f"ind.cora.{name}").write_bytes(harmful)
    with pytest.raises(MismatchError, match="not the published file by its hash"):
        read_graph(tmp_path)
    assert not mark.exists()
    (tmp_path / "ind.cora.allx").unlink()
    with pytest.raises(SourceNotFound, match=r"ind\.cora\.allx is missing"):
        read_graph(tmp_path)
