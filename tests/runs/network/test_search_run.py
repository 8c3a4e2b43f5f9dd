"""A search as a run: cell, network, steps beside retraining; killed and resumed; report and bad input."""

from __future__ import annotations

from dataclasses import replace

import pytest
from safetensors.torch import load_file

from genunlearn.backbones.cells import Genotype
from genunlearn.backbones.networks import FoundNetwork
from genunlearn.backbones.search import Search
from genunlearn.config import build_config
from genunlearn.errors import InputError
from genunlearn.records import read_json
from genunlearn.reports.headline import Tone
from genunlearn.reports.network.search import SEARCHES, read_search
from genunlearn.runs.api import run, write_reports
from genunlearn.runs.network.search_run import SearchRun

SMALL = (
    "request.limit=60",
    "search.cells=2",
    "search.nodes=1",
    "search.channels=2",
    "search.epochs=2",
    "retrain.epochs=3",
)


def config(*overrides, **request):
    return build_config({"task": "search", "domain": "classifier", "request": request}, [*SMALL, *overrides])


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search") / "out"
    return run(config(), out=folder), folder


def test_a_search_leaves_a_cell_its_network_and_what_each_way_costs(done):
    record, folder = done
    found = Genotype.read(read_json(folder / "cell.json", "cell"))
    network = FoundNetwork(found, 1, 10, cells=2, channels=2)
    network.load_state_dict(load_file(folder / "network.safetensors"))
    assert sum(w.numel() for w in network.parameters()) == record.cost["network"]["weights"]
    assert [row["round"] for row in record.rounds] == [1, 2] and "forget_gap" in record.rounds[0]
    assert {(r.target, r.group) for r in record.results} == {
        (target, group) for target in ("original", "unlearned", "oracle") for group in ("forget", "retain", "test")
    }
    once, retain = record.cost["network"]["multiply_adds"], record.find("accuracy", "oracle", "retain").n
    assert record.cost["oracle"]["multiply_adds"] == 3 * once * retain * 3  # three passes, three epochs


def test_the_report_draws_the_cell_and_says_whether_to_retrain(done):
    record, folder = done
    page = write_reports(record, folder).read_text()
    assert page.count("<svg") == 2 * 5  # accuracies, seconds, two cells, curves; wide and narrow
    assert read_search(record).verdict in page and "<script" not in page


def test_steps_that_are_no_stand_in_mean_retraining(done):
    def told(forget, known=1.0, width=0.0):
        """What is said where all accuracies are 0.5 but those on the forget set, after the steps and before."""
        at = {"unlearned": forget, "original": known}
        moved = []
        for one in done[0].results:
            value = at.get(one.target if one.group == "forget" else "", 0.5)
            moved.append(replace(one, value=value, low=value - width, high=value + width))
        return read_search(replace(done[0], results=moved))

    assert "close to retraining" in told(0.54).verdict and told(0.54).tone is Tone.GOOD
    unsure = told(0.54, width=0.1)  # the mark follows the interval, not the point
    assert unsure.tone is Tone.NEUTRAL and "as large as 0.18 on forget" in " ".join(unsure.sentences)
    assert told(0.54, known=0.5).verdict == "Nothing seen to forget"
    # 0.1 of the point, and sqrt(2) times 0.1 to both sides: that may be nothing
    assert told(0.6, width=0.1).verdict == "Not told apart from retraining"
    assert told(0.6, width=0.05).verdict == "Retrain"  # 0.1 - 0.07
    assert told(0.6).verdict == "Retrain" and "+0.10 on forget" in " ".join(told(0.6).sentences)


@pytest.mark.parametrize("fatal", ["second epoch", pytest.param("retraining", marks=pytest.mark.slow)])
def test_a_killed_search_goes_on_to_the_same_result(fatal, tmp_path, monkeypatch):
    whole = run(config(), out=tmp_path / "whole")
    owner, name = (Search, "epoch") if fatal == "second epoch" else (SearchRun, "_teach")
    original, calls = getattr(owner, name), []

    def die(self, *given):
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(self, *given)

    monkeypatch.setattr(owner, name, die)
    with pytest.raises(KeyboardInterrupt):
        run(config(), out=tmp_path / "out")
    record = run(config(), out=tmp_path / "out", resume=True)
    assert len(calls) == 3  # the first is not done again
    assert [vars(result) for result in record.results] == [vars(result) for result in whole.results]
    assert record.rounds == whole.rounds
    for one in ("cell.json", "network.safetensors"):
        assert (tmp_path / "out" / one).read_bytes() == (tmp_path / "whole" / one).read_bytes()


@pytest.mark.slow
def test_a_random_cell_and_clips_are_compared_with_a_search(done, tmp_path):
    drawn = run(config("search.order=random", data="made:clips", forget="class:1"), out=tmp_path / "drawn")
    assert drawn.rounds == [] and drawn.request["picture"] == "1 x 16 x 16"
    path = SEARCHES.compare({"searched": done[0], "drawn": drawn}, tmp_path / "both")
    assert "drawn" in path.read_text() and "| drawn" in (tmp_path / "both" / "compare.md").read_text()


BAD = {
    "data": ({"data": "/nowhere"}, "no such file or folder"),
    "lab": ({"data": "lab:digit"}, "did you mean 'digits'"),
    "words": ({"data": "lab:text"}, "no pictures of one size"),
    "numbers": ({"data": "lab:diabetes"}, "is for domain 'regression'"),
    "class": ({"forget": "class:12"}, "class 12 does not occur"),
    "ranked": ({"forget": "influence:5"}, "ranks items by a trained model"),
    "limit": ({"limit": 3}, "request.limit = 3"),
    "nothing": ({"data": ""}, "request.data is empty"),
    "all but one": ({"forget": "random:399"}, "leaves 1 item to retain"),
    "size": ({"size": 4}, "request.size = 4"),
    "key": ({"forgets": "class:3"}, "did you mean 'forget'"),
}


@pytest.mark.parametrize(("request_", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_refused_before_anything_is_written(request_, message, tmp_path):
    with pytest.raises(InputError, match=message) as caught:
        given = {"task": "search", "domain": "classifier", "request": request_}
        SearchRun(build_config(given), tmp_path / "out")
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()
