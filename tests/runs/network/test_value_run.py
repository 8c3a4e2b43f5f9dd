"""A valuation as a run: values, requests, report; killed and resumed; what is left after unlearning; bad input."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest

from genunlearn.config import build_config
from genunlearn.errors import ConfigError, InputError
from genunlearn.records import Result, read_json
from genunlearn.reports.network.value import read_values
from genunlearn.runs.api import run, value_config, write_reports
from genunlearn.runs.network import value_after
from genunlearn.runs.network.value_data import read_data
from genunlearn.runs.network.value_run import ValueRun
from genunlearn.valuation.estimators import EstimatorLearner

IRIS = {"data": "sklearn:iris", "requests": ("class:1", "random:5"), "limit": 40}
QUICK = ("evaluate.curves=2", "evaluate.repair=[0.5]")


def iris(method: str = "ecoval_style", overrides=(), **request):
    return value_config("sklearn:linear", {**IRIS, **request}, method=method, overrides=(*QUICK, *overrides))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("value") / "out"
    return run(iris(), out=folder), folder


def test_a_run_values_items_and_requests(done):
    record, folder = done
    rows = list(csv.DictReader((folder / "values.csv").open()))
    assert len(rows) == 40 and record.status == "completed"
    for name in IRIS["requests"]:
        mine = [float(row["value"]) for row in rows if name in row["requests"].split()]
        found = record.find("value", "ecoval_style", name)
        assert found.n == len(mine) and found.value == pytest.approx(sum(mine), rel=1e-5)
    lost = record.find("cost", "oracle", "class:1")
    assert lost.low <= lost.value <= lost.high and lost.value > 0.1  # a class of three is gone
    kept = read_json(folder / "values.json", "values")
    assert set(kept["removal"]) == {"shares", "high_first", "random", "low_first"}
    assert set(kept["repair"]) == set(IRIS["requests"])
    for number, (name, found) in enumerate(kept["repair"].items(), start=1):
        mine = {int(row["row"]) for row in rows if name in row["requests"].split()}
        chosen = found.get("rows", [])
        assert not mine & set(chosen)
        assert (folder / "repair" / f"{number}.txt").is_file() == bool(chosen)
    assert record.cost["trainings"]["values"] == record.rounds[0]["trainings"]


def test_the_report_shows_what_was_measured(done):
    record, folder = done
    page = write_reports(record, folder).read_text()
    assert read_values(record).verdict in page and "Removal by value" in page
    assert page.count("<svg") == 2 * 5  # costs, histogram, removal, repair of two requests; wide and narrow
    assert "<script" not in page


def test_a_cost_on_a_handful_of_items_is_no_verdict(done):
    def told(n: int) -> str:
        sure = {"value": 0.2, "low": 0.1, "high": 0.3, "n": n}
        found = [replace(one, **sure) if one.name == "cost" else one for one in done[0].results]
        return read_values(replace(done[0], results=found)).verdict

    assert told(10).endswith(" cost") and told(9) == "Too few items to tell"


def test_the_most_is_said_where_intervals_are_apart(done):
    first, second = [one for one in done[0].results if one.name == "cost"][:2]

    def told(low: float, *, is_alone: bool = False) -> str:
        costs = [replace(first, value=0.3, low=low, high=0.5, n=40)]
        costs += [] if is_alone else [replace(second, value=0.2, low=0.1, high=0.25, n=40)]
        return read_values(replace(done[0], results=costs)).verdict

    assert told(0.26) == f"{first.group} costs most"
    assert told(0.24) == f"{first.group} and {second.group} cost"
    assert told(0.26, is_alone=True) == f"{first.group} costs"


def test_what_is_left_is_read_from_the_group_that_tells(done):
    def told(*groups: tuple[float, float | None, float | None, int]) -> str:
        left = [
            Result(name="residual_value", target="unlearned", value=value, low=low, high=high, n=n, group=str(k))
            for k, (value, low, high, n) in enumerate(groups)
        ]
        return " ".join(read_values(replace(done[0], results=left)).sentences)

    assert "worth nothing that can be seen" in told((0.1, -0.1, 0.3, 40))
    assert "worth not nothing: 0.05" in told((0.1, -0.1, 0.3, 40), (0.05, 0.02, 0.08, 400))
    assert "what too few items tell" in told((0.1, 0.05, 0.3, 9)) and "too few" in told((0.1, None, None, 40))


def test_a_killed_run_goes_on_where_it_was(done, tmp_path, monkeypatch):
    answer, calls = EstimatorLearner.answer, []

    def die(self, rows, asked, **options):
        calls.append(len(rows))
        if len(calls) == 9:
            raise KeyboardInterrupt
        return answer(self, rows, asked, **options)

    monkeypatch.setattr(EstimatorLearner, "answer", die)
    with pytest.raises(KeyboardInterrupt):
        run(iris(), out=tmp_path / "out")
    before = len(calls) - 1
    record = run(iris(), out=tmp_path / "out", resume=True)
    whole, _ = done
    assert [vars(result) for result in record.results] == [vars(result) for result in whole.results]
    assert record.cost["trainings"] == whole.cost["trainings"]
    lines = (tmp_path / "out" / "state" / "journal.jsonl").read_text().splitlines()
    assert len(calls) - 1 == len(lines) > before  # nothing was trained twice


@pytest.mark.parametrize("level", ["clusters", "requests"])
def test_groups_are_players(level, tmp_path):
    requests = ("class:1", f"mask:{_others(tmp_path)}")
    record = run(iris("leave_one_out", level=level, requests=requests), out=tmp_path / "out")
    values = [record.find("value", "leave_one_out", name).value for name in requests]
    assert np.isfinite(values).all() and record.rounds[0]["trainings"] == (3 if level == "requests" else 7)


def _others(folder):
    """A file that marks two items which are not of class 1."""
    data = read_data(iris())
    rows = [row for row, item in enumerate(data.train) if int(item.target) != 1][:2]
    np.save(folder / "mask.npy", np.isin(np.arange(len(data.train)), rows))
    return folder / "mask.npy"


def test_a_folder_of_tables_is_valued_column_by_column(tmp_path):
    data = read_data(iris(limit=None))
    for name, items in (("train", data.train), ("test", data.test)):
        rows = [",".join(f"{x:g}" for x in [*item.inputs["x"].tolist(), int(item.target)]) for item in items]
        (tmp_path / f"{name}.csv").write_text("\n".join(["a,b,c,d,label", *rows]) + "\n")
    config = value_config("sklearn:linear", {"data": str(tmp_path)}, method="knn_shapley", overrides=QUICK)
    record = run(config, out=tmp_path / "out")
    assert record.find("score", "original", "all items").low > 0.5  # chance is a third


def test_what_is_forgotten_is_worth_nothing(tmp_path, monkeypatch):
    unlearned = tmp_path / "unlearned"
    quick = ("evaluate.oracles=1", "evaluate.attacks=[]")
    run("classifier/digits/retrain", out=unlearned, overrides=quick)
    config = value_config(
        "sklearn:linear",
        {"data": "lab:digits", "limit": 60, "unlearned": str(unlearned)},
        method="knn_shapley",
        overrides=("evaluate.curves=0",),
    )
    record = run(config, out=tmp_path / "out")
    group = "class:3, unseen items of its kind"
    before, after = (record.find("residual_value", target, group) for target in ("original", "unlearned"))
    assert before.value > 0.8 and abs(after.value) < 0.1
    assert "After unlearning the forget set is worth" in (tmp_path / "out" / "report.html").read_text()


BAD = {
    "no data": ({"data": None}, ("request.data=null",), "request.data is empty"),
    "set": ({"data": "sklearn:wines"}, (), "did you mean 'wine'"),
    "estimator": ({"model": "sklearn:tree"}, (), "unknown estimator of scikit-learn 'tree'"),
    "lab": ({"data": "lab:digit"}, (), "unknown lab"),
    "two labs": ({"model": "lab:digits", "data": "lab:text"}, (), "brings its own"),
    "words": ({"data": "lab:text"}, ("request.requests=[]",), "items are no tables or pictures"),
    "numbers": (
        {"data": "sklearn:diabetes"},
        ("request.requests=[]",),
        "the targets are numbers; take the other domain",
    ),
    "class": ({"requests": ("class:9",)}, (), "class 9 does not occur"),
    "ranked": ({"requests": ("influence:5",)}, (), "ranks items by a trained model"),
    "no players": ({"level": "requests"}, ("request.requests=[]",), "without requests"),
    "shared": ({"level": "requests", "requests": ("class:1", "random:39")}, (), "players must be apart"),
    "level": ({"level": "rows"}, (), "request.level = 'rows'"),
    "no run": ({"unlearned": "/nowhere"}, (), "no record at"),
    "method": ({"method": "shapely"}, (), "unknown valuation 'shapely'"),
    "field": ({}, ("method.cluster=3",), "did you mean 'clusters'"),
    "folder": ({"data": "/nowhere"}, (), "no such folder"),
    "limit": ({"limit": 3}, (), "request.limit = 3"),
}


@pytest.mark.parametrize(("given", "overrides", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_refused_before_anything_is_written(given, overrides, message, tmp_path):
    given = dict(given)
    model, method = given.pop("model", "sklearn:linear"), given.pop("method", "ecoval_style")
    with pytest.raises(InputError, match=message) as caught:
        config = value_config(model, {**IRIS, **given}, method=method, overrides=overrides)
        ValueRun(config, tmp_path / "out")
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_an_audit_is_no_run_that_unlearned(done):
    with pytest.raises(InputError, match="not a run that unlearned"):
        value_after.check_unlearned(str(done[1]))


def test_values_are_of_classifiers_and_regressors():
    with pytest.raises(ConfigError, match="task = 'value': for domain 'lm'"):
        build_config({"task": "value", "domain": "lm"})


def test_other_data_come_without_the_shipped_requests() -> None:
    assert value_config("sklearn:linear", {"data": "sklearn:wine"}).request.requests == ()
    assert value_config("sklearn:linear", {}).request.requests
