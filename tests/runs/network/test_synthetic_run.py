"""A synthetic table as a run: scores, closeness, report, comparison; killed and resumed; bad input."""

from __future__ import annotations

import csv
import dataclasses
import io

import numpy as np
import pytest
from rich.console import Console

from genunlearn.errors import InputError
from genunlearn.records import Result, RunRecord, read_json
from genunlearn.reports.headline import Tone
from genunlearn.reports.network.synthetic import (
    comparison_table,
    print_synthetic,
    read_closeness,
    read_synthetic,
    write_comparison,
    write_report,
)
from genunlearn.runs.api import run
from genunlearn.runs.network.synthetic import synthetic_config
from genunlearn.runs.network.synthetic_data import guess_domain
from genunlearn.runs.network.synthetic_data import read_synthetic as read_data
from genunlearn.runs.network.synthetic_run import SyntheticRun
from genunlearn.synthesis import quality
from genunlearn.synthesis.bootstrap import Bootstrap

QUICK = ("evaluate.draws=2", "request.limit=120")
IRIS = {"data": "sklearn:iris"}


def iris(method: str = "bootstrap", overrides=(), **request):
    return synthetic_config({**IRIS, **request}, method=method, overrides=(*QUICK, *overrides))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic") / "out"
    return run(iris(forget="random:0.3"), out=folder), folder


def test_a_run_measures_both_tables_and_the_held_out_rows(done):
    record, folder = done
    data = read_data(iris(forget="random:0.3"))
    assert (record.status, record.outcome) == ("completed", "measured")
    assert len(data.learnt) == 90 and data.forget.sum() == 27 and len(data.held_out) == 30
    for target in ("original", "unlearned", "reference"):
        parts = [record.find("tabsyndex", target, part).value for part in ("basic", "corr", "ml", "pmse", "support")]
        assert record.find("tabsyndex", target, "score").value == pytest.approx(np.mean(parts))
    before, after = (record.find("closeness", target) for target in ("original", "unlearned"))
    assert before.low > 0.5 and before.n == 27 and after.low < 0.5 < after.high
    assert (
        record.find("copied", "original", "forgotten").value
        > 0.3
        > record.find("copied", "unlearned", "forgotten").value
    )
    kept = read_json(folder / "distances.json", "distances")
    found = record.find("distance", "original", "forgotten")
    assert (
        found.value == pytest.approx(np.mean(kept["original"]["forgotten"])) and found.low <= found.value <= found.high
    )
    rows = list(csv.reader((folder / "synthetic.csv").open()))
    retained = set(map(tuple, csv.reader(io.StringIO(data.retained.csv()))))
    assert len(rows) == 64 and set(map(tuple, rows)) <= retained  # copies of rows that may be kept
    assert record.notes == ["30 rows of the table were not used (request.limit)"]


def test_the_report_shows_every_part(done):
    record, folder = done
    page = write_report(record, folder).read_text()
    assert page.count("<svg") == 2 * 4  # parts, closeness, distances of both tables; wide and narrow
    for text in ("Basic statistics", "Associations", "Indistinguishable", "TabSynDex, as published", "Closeness"):
        assert text in page
    assert "<script" not in page


def test_generators_are_compared(done, tmp_path):
    record, _ = done
    path = write_comparison({"a": record, "b": record}, tmp_path)
    assert "Closeness before" in path.read_text()
    heads, rows = comparison_table({"a": record, "b": record})
    assert [row[0] for row in rows] == ["a", "b", "held-out real rows"] and {len(row) for row in rows} == {len(heads)}
    console = Console(file=io.StringIO(), width=160)
    print_synthetic({"a": record}, console)
    assert "Learnt without the forgotten" in console.file.getvalue()


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.6, 0.9, "nearer"),
        (0.4, 0.65, "not nearer"),
        (0.4, 0.78, "too few rows to tell"),  # thirteen rows: the point alone would say that all is well
        (0.1, 0.4, "farther"),
        (0.1, 0.9, "too few rows to tell"),
        (None, None, "too few rows to tell"),
    ],
)
def test_chance_is_left_out_or_not(low, high, said):
    value = 0.5 if low is None else (low + high) / 2
    assert read_closeness(Result(name="closeness", target="original", value=value, low=low, high=high)).text == said


@pytest.mark.parametrize(
    ("before", "after", "tone", "said"),
    [
        ((0.7, 0.9), (0.4, 0.6), Tone.GOOD, "Learning anew takes the forgotten rows out"),
        ((0.7, 0.9), (0.4, 0.78), Tone.NEUTRAL, "Too few rows to tell"),
        ((0.4, 0.78), (0.4, 0.6), Tone.NEUTRAL, "Too few rows to tell"),  # the table that is out may be near
        ((0.53, 0.75), (0.4, 0.63), Tone.GOOD, "No nearer once learnt without the forgotten rows"),
        ((0.4, 0.6), (0.4, 0.6), Tone.GOOD, "No nearer to forgotten rows than to others"),
        ((0.4, 0.6), (0.55, 0.7), Tone.BAD, "The synthetic rows lie near the forgotten ones"),
    ],
)
def test_the_mark_follows_the_interval(done, before, after, tone, said):
    record, _ = done
    ends = {"original": before, "unlearned": after}
    planted = [
        dataclasses.replace(r, low=ends[r.target][0], high=ends[r.target][1]) if r.name == "closeness" else r
        for r in record.results
    ]
    headline = read_synthetic(dataclasses.replace(record, results=planted))
    assert (headline.tone, headline.verdict) == (tone, said)


def test_copies_that_closeness_passes_over_are_no_good_sign(done):
    near = {"closeness": {"low": 0.45, "high": 0.64}}
    copied = {
        "forgotten": {"value": 0.1, "low": 0.05, "high": 0.18},
        "held out": {"value": 0.0, "low": 0, "high": 0.07},
    }
    planted = [
        dataclasses.replace(one, **near.get(one.name, copied[str(one.group)] if one.name == "copied" else {}))
        for one in done[0].results
    ]
    # 0.1 - sqrt(0.05^2 + 0.07^2) = 0.014: beyond what rows are alike by chance
    headline = read_synthetic(dataclasses.replace(done[0], results=planted))
    assert (headline.tone, headline.verdict) == (Tone.BAD, "Forgotten rows stand among the synthetic ones")
    assert "Standing there as they are: 0.10" in headline.sentences[-1]


def test_a_copied_row_alone_is_no_verdict_on_closeness(tmp_path):
    record = run(iris(forget="random:1", overrides=("evaluate.draws=1",)), out=tmp_path / "out")
    headline = read_synthetic(record)
    assert (headline.tone, headline.verdict) == (Tone.NEUTRAL, "Too few rows to tell")
    assert "Forgotten rows: 1; held-out rows beside them: 30." in headline.sentences


def test_a_report_of_a_run_that_did_not_end(done, tmp_path):
    record = dataclasses.replace(done[0], results=[], status="interrupted", request={}, rounds=[])
    assert "did not finish" in write_report(record, tmp_path).read_text()
    assert read_synthetic(RunRecord(config=record.config)).tone is Tone.WARN


@pytest.mark.slow
def test_a_killed_run_draws_nothing_twice(done, tmp_path, monkeypatch):
    draw, calls = Bootstrap.draw, []

    def die(self, real, rows, seed):
        calls.append(seed)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return draw(self, real, rows, seed)

    monkeypatch.setattr(Bootstrap, "draw", die)
    config = iris(forget="random:0.3")
    with pytest.raises(KeyboardInterrupt):
        run(config, out=tmp_path / "out")
    record = run(config, out=tmp_path / "out", resume=True)
    assert calls == [0, 1, 0, 0, 1]
    assert [vars(result) for result in record.results] == [vars(result) for result in done[0].results]
    assert (tmp_path / "out" / "synthetic.csv").read_bytes() == (done[1] / "synthetic.csv").read_bytes()


def test_rows_of_a_file_are_measured_as_they_are(done, tmp_path):
    config = synthetic_config(IRIS, method="given", file=done[1] / "synthetic.csv", overrides=QUICK)
    record = run(config, out=tmp_path / "out")
    assert {result.target for result in record.results} == {"original", "reference"}
    assert record.request["synthetic rows"] == 63 and not (tmp_path / "out" / "synthetic.csv").exists()
    page = (tmp_path / "out" / "report.html").read_text()
    assert "The file&#39;s rows" in page or "The file's rows" in page


def test_without_sdmetrics_the_reason_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr("genunlearn.runs.network.synthetic_run.is_installed", lambda: False)
    record = run(iris("independent", ("evaluate.draws=1",)), out=tmp_path / "out")
    assert "pip install 'genunlearn[tables]'" in record.find("sdmetrics", "unlearned", "score").skipped
    assert quality.PACKAGE == "sdmetrics"


def test_a_class_is_compared_with_its_own_kind():
    data = read_data(iris(forget="class:setosa"))
    kinds = {side: set(getattr(data, side).values[:, -1]) for side in ("forgotten", "retained", "control", "held_out")}
    assert kinds == {"forgotten": {0}, "retained": {1, 2}, "control": {0}, "held_out": {0, 1, 2}}


def test_the_kind_of_a_target_is_seen():
    found = {name: guess_domain(iris(data=f"sklearn:{name}").request) for name in ("iris", "diabetes", "breast_cancer")}
    assert found == {"iris": "classifier", "diabetes": "regression", "breast_cancer": "classifier"}


BAD = {
    "set": ({"data": "sklearn:wines"}, {}, (), "did you mean 'wine'"),
    "no file": ({"data": "/nowhere.csv"}, {}, (), "there is no such file"),
    "generator": ({}, {"method": "gan"}, (), "unknown generator 'gan'"),
    "field": ({}, {"method": "vae"}, ("method.epoch=3",), "did you mean 'epochs'"),
    "class": ({"forget": "class:rose"}, {}, (), "no class 'rose'; there are setosa, versicolor, virginica"),
    "range": ({"forget": "range:1.."}, {}, (), "use class: for classes"),
    "ranked": ({"forget": "influence:5"}, {}, (), "ranks rows by a trained model"),
    "all": ({"forget": "random:89"}, {}, (), "leaves 1 rows to learn from"),
    "two classes": ({"forget": "class:setosa,virginica"}, {}, (), "target is the same in all"),
    "target": ({"target": "petals"}, {}, (), "no target column 'petals'"),
    "domain": ({}, {"domain": "regression"}, (), "'setosa' is no number"),
    "no such domain": ({}, {"domain": "lm"}, (), "a table is for classifier or regression"),
    "given": ({}, {"method": "given"}, (), "method.file is empty"),
    "draws": ({}, {}, ("evaluate.draws=0",), "evaluate.draws = 0"),
}


@pytest.mark.parametrize(("request_", "given", "overrides", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_refused_before_anything_is_written(request_, given, overrides, message, tmp_path):
    with pytest.raises(InputError, match=message) as caught:
        config = synthetic_config({**IRIS, **request_}, overrides=(*QUICK, *overrides), **given)
        SyntheticRun(config, tmp_path / "out")
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()
