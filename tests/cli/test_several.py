"""Several runs in one folder: those of another request are refused, before the first begins and in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from genunlearn.records import COMPLETED, RunRecord
from genunlearn.runs.api import value_config
from genunlearn.runs.network.synthetic import synthetic_config

ASKED = ("synthetic", "--data", "sklearn:wine", "--compare", "independent,vae", "--out", "out")


def lay(place: Path, config, status: str = "interrupted") -> None:
    """A run of this configuration, as a kill or its end has left it."""
    record = RunRecord(config=config.resolved(), hashes={"config": config.sha256}, status=status)
    place.mkdir(parents=True)
    record.write(place)


def wine(method: str, **request):
    return synthetic_config({"data": "sklearn:wine", **request}, method=method)


OTHERS = {
    "a method that is asked again, on another table": ("vae", {"data": "sklearn:iris"}, "has another configuration"),
    "a method that is asked again, on other rows": ("vae", {"forget": "random:0.3"}, "has another configuration"),
    "another method on another table": ("bootstrap", {"data": "sklearn:iris"}, "bootstrap there is of another request"),
}


@pytest.mark.parametrize(("method", "request_", "complaint"), OTHERS.values(), ids=OTHERS.keys())
@pytest.mark.parametrize("status", ["interrupted", COMPLETED])
def test_runs_of_another_request_are_not_compared(refused, workplace, method, request_, complaint, status):
    lay(workplace / "out" / method, wine(method, **request_), status)
    assert complaint in refused(*ASKED, "--resume")


def test_valuations_of_other_data_are_not_compared(refused, workplace):
    lay(workplace / "out" / "lava", value_config("sklearn:linear", {"data": "sklearn:iris"}, method="lava"))
    asked = ("value", "--data", "sklearn:wine", "--request", "random:5", "--compare", "knn_shapley", "--out", "out")
    assert "lava there is of another request" in refused(*asked, "--resume")


def test_valuations_without_requests_are_refused_before_they_run(refused):
    asked = ("value", "--data", "sklearn:wine", "--compare", "knn_shapley", "--out", "out")
    assert "give some (--request random:0.1)" in refused(*asked)


def test_several_runs_do_not_lie_in_a_single_one(refused, workplace):
    lay(workplace / "out", wine("gaussian_copula"))
    assert "a single run lies there" in refused(*ASKED, "--resume")


def test_without_resume_the_folder_is_empty(refused, workplace):
    lay(workplace / "out" / "bootstrap", wine("bootstrap"))
    assert "is not empty; take another --out, or --resume" in refused(*ASKED)


def test_a_single_run_does_not_lie_beside_others(refused, workplace):
    lay(workplace / "out" / "bootstrap", wine("bootstrap"))
    assert "is not empty; take another --out" in refused("synthetic", "--out", "out", "--resume")
