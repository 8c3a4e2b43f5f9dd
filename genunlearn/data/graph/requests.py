"""What is to be forgotten in a graph, in words: ``KIND:VALUE``.

    nodes:0.1       a share of what is learnt, drawn by the seed          nodes:3,17      these nodes
    class:2         all learnt nodes of a class
    features:0.1    features of learnt nodes; their links stay            features:3,17   of these nodes
    edges:0.05      a share of the learnt links                           edges:3-17,4-9  these links
    edges_in:0.05   links within two hops of the links of the test set    edges_out:0.05  links outside of that

A network that classifies nodes forgets nodes, classes and features; one that predicts links forgets links, and nodes
with all their links. What is to be forgotten is absent from the graph that every model sees from then on. A deleted
node can only be asked about by who brings its features: it answers alone, without its links.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from genunlearn.contracts import Splits
from genunlearn.data.graph.graph import Graph, GraphItem, node_items, nodes_of, non_links, pair_items
from genunlearn.errors import DataError

Task = Literal["node", "link"]
NODE_KINDS = ("nodes", "class", "features")
LINK_KINDS = ("edges", "edges_in", "edges_out", "nodes")
HOPS = 2
TEST_SHARES: dict[str, float] = {"node": 0.2, "link": 0.05}
"""Share of nodes, or of links, that are never learnt."""


@dataclass(frozen=True, kw_only=True)
class Learnt:
    """What a network is taught.

    Attributes:
        task: ``node`` for classes of nodes, ``link`` for links.
        graph: What carries messages: links of the test set are not among its links where links are learnt.
        train: Items that are learnt; of pairs half are no links.
        test: Items that are not.
    """

    task: Task
    graph: Graph
    train: Sequence[GraphItem]
    test: Sequence[GraphItem]


@dataclass(frozen=True, kw_only=True)
class GraphContext:
    """What is known of a request besides its items.

    Attributes:
        before: The graph as the original has learnt it.
        after: The graph without what is to be forgotten.
        touched: Nodes that lose something, ``(nodes,)`` numbers.
        severed: Links that are gone, ``(links, 2)``.
        holdout_graph: The graph in which the holdout items have lost what forget items have, so that the two compare.
        test: Items that were never learnt, of every kind.
    """

    before: Graph
    after: Graph
    touched: Tensor
    severed: Tensor
    holdout_graph: Graph
    test: Sequence[GraphItem]


def learn(graph: Graph, task: Task, *, seed: int = 0, test_share: float | None = None) -> Learnt:
    """Divide a graph into what is learnt and what is not.

    Args:
        graph: The whole graph.
        task: What is learnt.
        seed: Decides the division, and which pairs stand for "no link".
        test_share: By default as in `TEST_SHARES`.

    Raises:
        DataError: The graph is too small, or its nodes have no classes.
    """
    share, generator = test_share or TEST_SHARES[task], torch.Generator().manual_seed(seed)
    if task == "node":
        items = node_items(graph, torch.arange(graph.num_nodes))
        is_test = _stratified([item.target for item in items], share, generator)
        train, test = _divide(items, is_test)
        if not train or not test:
            raise DataError(f"a graph of {len(items)} nodes is too small to keep {share:g} of each class for the test")
        return Learnt(task=task, graph=graph, train=train, test=test)
    count = round(share * len(graph.links))
    if not 0 < count < len(graph.links):
        raise DataError(f"a graph of {len(graph.links)} links is too small to keep {share:g} of them for the test")
    is_test = torch.zeros(len(graph.links), dtype=torch.bool)
    is_test[torch.randperm(len(graph.links), generator=generator)[:count]] = True
    nothing = non_links(graph, len(graph.links), generator)
    links, others = graph.links, pair_items(nothing, is_linked=False)
    return Learnt(
        task=task,
        graph=graph.without_links(is_test),
        train=[*pair_items(links[~is_test], is_linked=True), *others[count:]],
        test=[*pair_items(links[is_test], is_linked=True), *others[:count]],
    )


def check_request(request: str, task: Task | None) -> tuple[str, Task]:
    """Kind and task of a request in words; a kind of either task takes ``node`` where none is given.

    Raises:
        DataError: There is no such kind, or it does not go with the task.
    """
    kind, colon, _ = request.partition(":")
    known = tuple(dict.fromkeys((*NODE_KINDS, *LINK_KINDS)))
    if not colon or kind not in known:
        raise DataError(f"forget set {request!r}: write it as KIND:VALUE with KIND one of {', '.join(known)}")
    task = task or ("node" if kind in NODE_KINDS else "link")
    allowed = NODE_KINDS if task == "node" else LINK_KINDS
    if kind not in allowed:
        what = "classifies nodes" if task == "node" else "predicts links"
        raise DataError(f"forget set {request!r}: a network that {what} forgets {', '.join(allowed)}")
    return kind, task


def choose(learnt: Learnt, request: str, *, seed: int = 0) -> Splits[GraphContext]:
    """The items and graphs of a request in words; see the module for its forms.

    Raises:
        DataError: The request cannot be read, names what is not there, or marks nothing or everything.
    """
    kind, _ = check_request(request, learnt.task)
    value = request.partition(":")[2].strip()
    generator = torch.Generator().manual_seed(seed)
    if learnt.task == "link":
        return _choose_links(learnt, kind, value, generator, request)
    return _choose_nodes(learnt, kind, value, generator, request)


def _choose_nodes(
    learnt: Learnt, kind: str, value: str, generator: torch.Generator, request: str
) -> Splits[GraphContext]:
    known = nodes_of(learnt.train)
    if kind == "class":
        classes = _numbers(value, request)
        there = {item.target for item in learnt.train}
        if missing := [number for number in classes if number not in there]:
            raise DataError(
                f"forget set {request!r}: class {missing[0]} is none of {', '.join(map(str, sorted(there)))}"
            )
        going = torch.tensor([item.nodes[0] for item in learnt.train if item.target in classes])
    else:
        going = _some_nodes(value, request, known, learnt.graph.num_nodes, generator)
    gone = set(going.tolist())
    forget, retain = _divide(learnt.train, torch.tensor([item.nodes[0] not in gone for item in learnt.train]))
    _refuse_trivial(forget, retain, request, "learnt nodes")
    targets = {item.target for item in forget}
    holdout = [item for item in learnt.test if kind != "class" or item.target in targets]
    lose: Callable[[Graph, Tensor], Graph] = Graph.without_features if kind == "features" else Graph.without_nodes
    before, after = learnt.graph, lose(learnt.graph, going)
    severed = before.links[:0] if kind == "features" else before.links[before.touching(going)]
    context = GraphContext(
        before=before, after=after, touched=going, severed=severed,
        holdout_graph=lose(after, nodes_of(holdout)), test=learnt.test,
    )  # fmt: skip
    return Splits(forget=forget, retain=retain, holdout=holdout, context=context)


def _choose_links(
    learnt: Learnt, kind: str, value: str, generator: torch.Generator, request: str
) -> Splits[GraphContext]:
    graph, links = learnt.graph, learnt.graph.links
    if kind == "nodes":
        marked = graph.touching(_some_nodes(value, request, links.unique(), graph.num_nodes, generator))
    elif "-" in value:
        marked = _named_links(value, request, graph)
    else:
        pool = torch.ones(len(links), dtype=torch.bool)
        if kind != "edges":
            tested = nodes_of([item for item in learnt.test if item.target])
            is_inside = graph.near(tested, HOPS)[links].all(1)
            pool = is_inside if kind == "edges_in" else ~is_inside
        marked = _draw(_share(value, request), pool, len(links), generator, request)
    forget = pair_items(links[marked], is_linked=True)
    kept = pair_items(links[~marked], is_linked=True)
    _refuse_trivial(forget, kept, request, "learnt links")
    after = graph.without_links(marked)
    context = GraphContext(
        before=graph, after=after, touched=nodes_of(forget), severed=links[marked],
        holdout_graph=after, test=learnt.test,
    )  # fmt: skip
    retain = [*kept, *(item for item in learnt.train if not item.target)]
    holdout = [item for item in learnt.test if item.target]
    return Splits(forget=forget, retain=retain, holdout=holdout, context=context)


def _some_nodes(value: str, request: str, known: Tensor, total: int, generator: torch.Generator) -> Tensor:
    if "." in value:
        marked = _draw(_share(value, request), torch.ones(len(known), dtype=torch.bool), len(known), generator, request)
        return known[marked]
    numbers = _numbers(value, request)
    if unknown := [number for number in numbers if not 0 <= number < total]:
        raise DataError(
            f"forget set {request!r}: node {unknown[0]} is not in the graph, which has nodes 0 to {total - 1}"
        )
    learnt = set(known.tolist())
    if untaught := [number for number in numbers if number not in learnt]:
        raise DataError(
            f"forget set {request!r}: node {untaught[0]} was never learnt (it is kept for the test, or has no link)"
        )
    return torch.tensor(sorted(set(numbers)))


def _named_links(value: str, request: str, graph: Graph) -> Tensor:
    there = {tuple(pair): place for place, pair in enumerate(graph.links.tolist())}
    marked = torch.zeros(len(graph.links), dtype=torch.bool)
    for part in value.split(","):
        ends = tuple(sorted(_numbers(part.replace("-", ","), request)))
        if len(ends) != 2 or ends not in there:
            raise DataError(
                f"forget set {request!r}: {part.strip()!r} is no learnt link of the graph: write its nodes as 3-17"
            )
        marked[there[ends]] = True
    return marked


def _numbers(value: str, request: str) -> list[int]:
    try:
        return [int(part) for part in value.split(",")]
    except ValueError:
        what = f"{value!r} is no whole number" if value else "nothing is named"
        raise DataError(f"forget set {request!r}: {what}: give numbers such as 3,17, or a share such as 0.1") from None


def _share(value: str, request: str) -> float:
    try:
        share = float(value)
    except ValueError:
        share = -1.0
    if not 0 < share < 1:
        raise DataError(f"forget set {request!r}: {value!r} is no share: give one between 0 and 1, such as 0.05")
    return share


def _draw(share: float, pool: Tensor, total: int, generator: torch.Generator, request: str) -> Tensor:
    """So large a share of `total`, drawn from the marked ones of `pool`; marks them, as long as `pool`."""
    count, places = round(share * total), pool.nonzero().flatten()
    if not count:
        raise DataError(f"forget set {request!r} marks nothing: {share:g} of {total} is less than one")
    if count > len(places):
        if not len(places):
            raise DataError(f"forget set {request!r} marks nothing: this graph has no such links; take edges:{share:g}")
        raise DataError(
            f"forget set {request!r} asks for {count} of {len(places)} that there are: take a smaller share"
        )
    marked = torch.zeros(len(pool), dtype=torch.bool)
    marked[places[torch.randperm(len(places), generator=generator)[:count]]] = True
    return marked


def _refuse_trivial(forget: Sequence[GraphItem], retain: Sequence[GraphItem], request: str, what: str) -> None:
    if not forget:
        raise DataError(f"forget set {request!r} marks nothing: name at least one of the {what}")
    if not retain:
        raise DataError(f"forget set {request!r} marks all {len(forget)} {what}: nothing would be left to keep")


def _divide(items: Sequence[GraphItem], second: Tensor) -> tuple[list[GraphItem], list[GraphItem]]:
    flags = second.tolist()
    return (
        [item for item, flag in zip(items, flags, strict=True) if not flag],
        [item for item, flag in zip(items, flags, strict=True) if flag],
    )


def _stratified(targets: Sequence[int], share: float, generator: torch.Generator) -> Tensor:
    """Mark so large a share of every class."""
    classes, marked = torch.tensor(targets), torch.zeros(len(targets), dtype=torch.bool)
    for number in sorted(set(targets)):
        places = (classes == number).nonzero().flatten()
        drawn = places[torch.randperm(len(places), generator=generator)]
        marked[drawn[: round(share * len(places))]] = True
    return marked
