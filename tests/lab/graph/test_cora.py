"""``lab:cora``: a graph from a seed, networks that learn it, and oracles that never saw what is to go."""

from __future__ import annotations

import pytest
import torch

from genunlearn.data.graph.requests import choose
from genunlearn.domains.graph.fitting import GraphFit
from genunlearn.errors import DataError, QualityError
from genunlearn.lab.cache import CACHE_VARIABLE
from genunlearn.lab.graph.cora import GraphStudy, build, citations, score


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))


SMALL = {"papers": 120, "fields": 3, "words": 60}
BRIEF = GraphFit(epochs=40)


def test_the_graph_is_the_same_for_a_seed_and_cites_within_fields() -> None:
    graph = citations(**SMALL)
    assert graph.sha256 == citations.__wrapped__(**SMALL).sha256 != citations(**SMALL, seed=1).sha256
    same = (graph.y[graph.links[:, 0]] == graph.y[graph.links[:, 1]]).float().mean()
    assert 0.7 < same < 1 and len(graph.links) == 3 * 117 + 2 + 1
    assert torch.allclose(graph.x.sum(1), torch.ones(120))


def test_networks_are_taught_once_and_oracles_on_what_is_left() -> None:
    study = GraphStudy(graph=citations(**SMALL), task="node", settings=BRIEF, level=0.6)
    splits = choose(study.learnt, "class:1")
    folder = study.folder()
    assert study.folder() == folder and study.folder(splits, seed=1) != folder
    original, oracle = study.original(splits.context.after), study.oracle(splits, 1)
    assert score(original, splits.forget) > 0.8 and score(oracle, splits.forget) == 0.0
    assert study.card()["measured"]["test"] >= 0.6 and study.card(splits, seed=1)["is_oracle"]


def test_an_original_that_has_learnt_too_little_is_refused() -> None:
    study = GraphStudy(graph=citations(**SMALL), task="link", settings=GraphFit(epochs=1), level=0.99)
    with pytest.raises(QualityError, match=r"lab:cora \(gcn, link\), seed = 0, misses its level"):
        study.folder()


def test_the_lab_takes_one_request() -> None:
    with pytest.raises(DataError, match="2 requests: lab:cora takes one"):
        build(without=["nodes:0.1", "edges:0.1"])
