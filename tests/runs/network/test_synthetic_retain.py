"""Synthetic rows in the place of retain items: what the method is given, what is measured, what cannot be done."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genunlearn.config import load_config
from genunlearn.data.network.items import as_items
from genunlearn.engine.progress import Watch
from genunlearn.errors import InputError
from genunlearn.runs.api import run
from genunlearn.runs.methods import build_method
from genunlearn.runs.network.family import NetworkFamily
from genunlearn.runs.network.synthetic_retain import synthetic_items
from genunlearn.runs.run import prepare
from genunlearn.synthesis.bootstrap import Bootstrap
from genunlearn.synthesis.gaussian_copula import GaussianCopula

QUICK = ("evaluate.attacks=[]", "evaluate.oracles=1", "request.retain=synthetic")


def test_items_are_like_those_they_stand_for():
    generator = np.random.default_rng(0)
    x = torch.from_numpy(np.column_stack([generator.standard_normal(60), generator.integers(0, 3, 60)])).float()
    items = as_items((x, (x[:, 0] > 0).long()))
    for maker in (Bootstrap(), GaussianCopula()):
        made = synthetic_items(items, maker, 0)
        assert len(made) == 60 and len({item.id for item in made}) == 60
        assert {item.target.item() for item in made} == {0, 1} and made[0].target.dtype == torch.int64
        assert made[0].inputs["x"].dtype == torch.float32
        assert {item.inputs["x"][1].item() for item in made} == {0, 1, 2}  # nothing between them
    real = {tuple(item.inputs["x"].tolist()) for item in items}
    assert {tuple(item.inputs["x"].tolist()) for item in synthetic_items(items, Bootstrap(), 0)} <= real
    drawn = {tuple(item.inputs["x"].tolist()) for item in synthetic_items(items, GaussianCopula(), 0)}
    assert len(drawn & real) <= 4  # the ends of a column alone


@pytest.mark.slow
def test_a_method_is_given_synthetic_rows_and_the_real_ones_are_measured(tmp_path):
    config = load_config("regression/diabetes/fine_tune", QUICK)
    family, method, request, _ = prepare(config, Watch(is_shown=False))
    assert isinstance(family, NetworkFamily) and method == build_method(config.method, family="network", seed=0)
    splits = request.splits()
    given = family._given_retain(request)
    assert len(given) == len(splits.retain) and not {item.id for item in given} & {item.id for item in splits.retain}
    record = run(config, out=tmp_path / "out")
    assert record.request["retain_given"] == "synthetic rows by gaussian_copula"
    assert float(record.request["TabSynDex of the synthetic retain rows"]) > 0.8
    retain = record.find("mean_absolute_error", "original", "retain")
    assert retain.n == len(splits.retain)
    assert float(record.request["original's error on the real ones"]) == pytest.approx(retain.value, rel=0.01)
    assert "TabSynDex of the synthetic retain rows" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("classifier/digits/fine_tune", (), "the items are no rows of a table"),
        ("regression/diabetes/fine_tune", ("request.generator.name=gan",), "unknown generator 'gan'"),
        ("regression/diabetes/fine_tune", ("request.generator.name=given",), "items have no column names"),
        ("regression/diabetes/fine_tune", ("request.generator={name: vae, epoch: 3}",), "did you mean 'epochs'"),
        ("regression/diabetes/fine_tune", ("request.retain=fake",), "request.retain = 'fake'"),
    ],
)
def test_what_cannot_be_done(name, overrides, message, tmp_path):
    with pytest.raises(InputError, match=message) as caught:
        run(name, out=tmp_path / "out", overrides=(*QUICK, *overrides))
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()
