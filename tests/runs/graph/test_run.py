"""Runs on graph networks: what they leave, how they are read again, and what is refused before any work."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

import genunlearn
from genunlearn.config import build_config
from genunlearn.data.graph.requests import choose, learn
from genunlearn.errors import (
    ConfigError,
    DamageWarning,
    DataError,
    MismatchError,
    NameNotFound,
    NeedNotMet,
    SourceNotFound,
)
from genunlearn.lab.cache import CACHE_VARIABLE
from genunlearn.lab.graph.cora import citations
from genunlearn.records import RunRecord
from genunlearn.reports.graph.reading import read_graph_run
from genunlearn.reports.graph.report import GRAPHS
from genunlearn.reports.headline import Tone
from genunlearn.runs.run import Run as UnlearnRun
from tests.killed import assert_same, killed_and_resumed

Run = Callable[..., RunRecord]
GRAPH = citations(papers=100, fields=3, words=40)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory):
    """A folder with a graph, and a cache of its own."""
    folder = tmp_path_factory.mktemp("graphs")
    np.savez(folder / "graph.npz", x=GRAPH.x.numpy(), edge_index=GRAPH.edge_index.numpy(), y=GRAPH.y.numpy())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(folder / "cache"))
        yield folder


@pytest.fixture(scope="module")
def settings(site: Path) -> dict[str, Any]:
    return {
        "domain": "graph",
        "model": {"source": "lab:cora"},
        "request": {"forget": "nodes:0.1", "data": str(site / "graph.npz")},
        "method": {"name": "d2dgn"},
        "train": {"learning_rate": 0.02, "batch_size": 1000, "max_steps": 60, "save_every": 60},
        "evaluate": {"attacks": ["membership", {"name": "relearning", "steps": 2}, "link_stealing"]},
    }


@pytest.fixture(scope="module")
def run(settings: dict[str, Any], site: Path) -> Run:
    """Carry out a run in ``site/NAME``; arguments change sections."""

    def run(name: str, **sections: Any) -> RunRecord:
        config: Any = build_config({**settings, **{k: {**settings.get(k, {}), **v} for k, v in sections.items()}})
        return UnlearnRun(config, site / name)()

    return run


@pytest.fixture(scope="module")
def nodes(run: Run) -> RunRecord:
    return run("nodes")


@pytest.fixture(scope="module")
def links(run: Run) -> RunRecord:
    return run("links", request={"forget": "edges:0.1"}, method={"name": "gnndelete"}, evaluate={"oracles": 1})


@pytest.mark.slow
def test_a_run_on_nodes_measures_three_kinds_of_network(nodes: RunRecord, site: Path) -> None:
    assert nodes.status == "completed"
    for target in ("original", "unlearned", "oracle"):
        for group in ("forget", "retain", "test"):
            found = nodes.find("accuracy", target, group)
            assert found.value is not None and found.n > 0 and found.low <= found.value <= found.high
        assert nodes.find("membership", target).value is not None
        assert nodes.find("link_stealing", target).value is not None
        assert nodes.find("relearning_accuracy", target, "step 2").value is not None
    assert nodes.find("membership_ratio", "original", "forget").value == pytest.approx(1.0)
    assert nodes.request["task"] == "node" and nodes.request["links_gone"] > 0
    assert {"config", "base", "request", "model"} <= nodes.hashes.keys()
    assert (site / "nodes" / "model" / "network.json").is_file()
    keys = [(result.name, result.target, result.group) for result in nodes.results]
    assert len(keys) == len(set(keys))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("planted", "tone", "verdict"),
    [
        ({"max_steps": 1, "learning_rate": 1e-6}, Tone.NEUTRAL, "Done; like an oracle, as before"),
        ({"max_steps": 60, "learning_rate": 0.5}, Tone.BAD, "The network collapsed"),
    ],
)
def test_beside_oracles_that_know_nothing_is_forgotten_and_a_wreck_is_called_so(
    nodes: RunRecord, run: Run, site: Path, planted: dict[str, Any], tone: Tone, verdict: str
) -> None:
    folder = str(site / "nodes" / "model")
    record = run(
        f"beside-{verdict[:4]}",
        model={"source": folder},
        method={"name": "grad_ascent"},
        train=planted,
        evaluate={"attacks": [], "oracle_folders": [folder] * 3},
    )
    headline = read_graph_run(record)
    assert (headline.tone, headline.verdict) == (tone, verdict)


@pytest.mark.slow
def test_a_run_on_links_measures_them(links: RunRecord) -> None:
    for name, group in (
        ("auc", "test"),
        ("average_precision", "test"),
        ("df_auc", "forget"),
        ("consistency", "forget"),
    ):
        assert links.find(name, "unlearned", group).value is not None, name
    assert "needs the distribution of 3 oracles" in links.find("oracle_gap", "unlearned", None).skipped
    assert links.find("relearning_auc", "oracle", "step 2").value is not None


@pytest.mark.slow
def test_reports_show_what_stands_in_the_record(nodes: RunRecord, links: RunRecord, tmp_path: Path) -> None:
    page = GRAPHS.write(nodes, tmp_path).read_text()
    assert "nodes:0.1 on lab:cora (gcn)" in page and "without what was to be forgotten" in page
    assert page.count("<svg") >= 2 and read_graph_run(nodes).verdict in page
    compared = GRAPHS.compare({"a": nodes, "b": links}, tmp_path)
    text = (tmp_path / "compare.md").read_text()
    assert compared.is_file() and "Deleted-link AUC" in text and "Accuracy, forget" in text
    shown = io.StringIO()
    GRAPHS.show({"a": nodes, "b": links}, Console(file=shown, width=140))
    assert "Oracle" in shown.getvalue() and "D2DGN" in shown.getvalue()


@pytest.mark.slow
def test_a_saved_network_is_opened_again_with_its_operators(links: RunRecord, run: Run, site: Path) -> None:
    model = {"source": str(site / "links" / "model")}
    again = run(
        "again", model=model, request={"forget": "edges:0.1"}, method={"name": "grad_ascent"}, train={"max_steps": 1}
    )
    before, after = (
        one.find("auc", target, "test").value for one, target in ((again, "original"), (links, "unlearned"))
    )
    assert before == pytest.approx(after)
    assert "name some in evaluate.oracle_folders" in again.find("oracle", "oracle").skipped
    assert read_graph_run(again).verdict == "Done; no oracle to compare with"


@pytest.mark.parametrize(
    ("changes", "error", "complaint"),
    [
        ({"request": {"forget": None}}, ConfigError, "request.forget is empty"),
        ({"request": {"forget": "nodes:500"}}, DataError, "node 500 is not in the graph, which has nodes 0 to 99"),
        ({"request": {"forget": "nodes:0.999"}}, DataError, "marks all 80 learnt nodes"),
        ({"request": {"forget": "edges:0.985"}}, DataError, r"leaves \d of \d+ learnt links: what must stay cannot"),
        ({"request": {"forget": "edges_out:0.1"}}, DataError, "this graph has no such links; take edges:0.1"),
        ({"request": {"forget": "edges:0.1", "task": "node"}}, DataError, "a network that classifies nodes forgets"),
        ({"request": {"data": "/nowhere"}}, SourceNotFound, "no graph there"),
        ({"model": {"source": "lab:lm"}}, NameNotFound, "cora"),
        ({"model": {"source": "/nowhere"}}, SourceNotFound, "/nowhere"),
        ({"method": {"name": "bad_teaching"}}, NameNotFound, "bad_teaching"),
        ({"request": {"retain": "none"}}, NeedNotMet, "needs retain data"),
        ({"method": {"name": "gnndelete"}, "parameters": {"kind": "lora"}}, NeedNotMet, "parameters.kind = 'full'"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(
    settings: dict[str, Any], changes: dict[str, Any], error: type[Exception], complaint: str
) -> None:
    merged = {**settings, **{k: {**settings.get(k, {}), **v} for k, v in changes.items()}}
    with pytest.raises(error, match=complaint) as caught:
        UnlearnRun.check(build_config(merged))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_features_that_do_not_fit_are_named(nodes: RunRecord, settings: dict[str, Any], site: Path) -> None:
    np.savez(site / "wide.npz", x=np.ones((100, 7)), edge_index=GRAPH.edge_index.numpy(), y=GRAPH.y.numpy())
    asked = {
        "model": {"source": str(site / "nodes" / "model")},
        "request": {"forget": "nodes:0.1", "data": str(site / "wide.npz")},
    }
    with pytest.raises(MismatchError, match="the graph has 7 features a node, and the network takes 40"):
        UnlearnRun.check(build_config({**settings, **asked}))


def test_without_pytorch_geometric_one_line_says_what_to_install(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch_geometric", None)
    with pytest.raises(NeedNotMet, match=r"pip install 'genunlearn\[graph\]'"):
        UnlearnRun.check(build_config(settings))


@pytest.mark.slow
@pytest.mark.parametrize(("method", "saves"), [("d2dgn", 7), ("gnndelete", 9)])
def test_a_killed_run_goes_on_to_the_same_numbers(
    settings: dict[str, Any], site: Path, method: str, saves: int
) -> None:
    train = settings["train"] | {"max_steps": 12, "save_every": 3}
    evaluate = {"attacks": ["membership"], "oracles": 1}
    config: Any = build_config({**settings, "method": {"name": method}, "train": train, "evaluate": evaluate})
    straight = UnlearnRun(config, site / f"straight-{method}")()
    assert_same(killed_and_resumed(config, site / f"killed-{method}", saves=saves), straight)


# ---- from Python ------------------------------------------------------------------------------------------------


class Own(nn.Module):
    """A network of one's own."""

    def __init__(self) -> None:
        super().__init__()
        from torch_geometric.nn import GATConv, GCNConv

        self.first, self.norm, self.second = GATConv(40, 8), nn.BatchNorm1d(8), GCNConv(8, 3)

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        return self.second(self.norm(self.first(x, edge_index)).relu(), edge_index)


def taught() -> Own:
    from genunlearn.domains.graph.adapter import GraphModel
    from genunlearn.domains.graph.fitting import GraphFit, fit

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Own()
    fit(GraphModel(network, GRAPH), learn(GRAPH, "node").train, GraphFit(epochs=60), seed=0)
    return network


@pytest.mark.filterwarnings("ignore::genunlearn.errors.DamageWarning")
def test_a_network_of_ones_own_forgets_in_a_copy() -> None:
    from torch_geometric.data import Data

    network, data = taught(), Data(x=GRAPH.x, edge_index=GRAPH.edge_index, y=GRAPH.y)
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    for method in ("d2dgn", "gnndelete", {"name": "grad_diff", "gamma": 0.5}):
        forgot, without = genunlearn.unlearn_graph(
            network, data, forget="nodes:3,17,42", method=method, train={"max_steps": 80}
        )
        assert all(torch.equal(network.state_dict()[name], weight) for name, weight in before.items())
        assert not torch.isin(without.links, torch.tensor([3, 17, 42])).any()
        with torch.no_grad():
            assert forgot(without.x, without.edge_index).shape == (100, 3)
            told = [one(without.x, without.edge_index).softmax(1) for one in (network, forgot)]
        ids = torch.tensor([3, 17, 42])
        sure = [answers[ids, GRAPH.y[ids]].mean() for answers in told]
        assert sure[1] < sure[0]


def test_damage_is_said_and_wrong_input_refused() -> None:
    network = taught()
    with pytest.warns(DamageWarning, match="the share of what must stay that is told went from"):
        genunlearn.unlearn_graph(
            network, GRAPH, forget="class:1", method="grad_ascent", train={"max_steps": 40, "learning_rate": 0.5}
        )
    for wrong, complaint in (
        ({"forget": "nodes:700"}, "node 700 is not in the graph"),
        ({"forget": 3}, "write KIND:VALUE"),
        ({"forget": "nodes:3", "method": "nothing"}, "nothing"),
        ({"forget": "nodes:3", "train": {"steps": 3}}, "steps"),
        ({"forget": "nodes:3", "seed": -1}, "seed = -1"),
    ):
        with pytest.raises((DataError, ConfigError, NameNotFound), match=complaint):
            genunlearn.unlearn_graph(network, GRAPH, **wrong)
    with pytest.raises(MismatchError, match="give a torch"):
        genunlearn.unlearn_graph("gcn", GRAPH, forget="nodes:3")
    with pytest.raises(MismatchError, match="cannot be asked on a graph"):
        narrow = choose(learn(GRAPH, "node"), "nodes:0.1").context.before
        genunlearn.unlearn_graph(
            network, type(narrow)(x=narrow.x[:, :5], links=narrow.links, y=narrow.y), forget="nodes:3"
        )
