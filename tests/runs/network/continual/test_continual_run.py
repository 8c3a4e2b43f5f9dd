"""A stream as a run: results beside oracles, report, killed and resumed, from Python; bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from genunlearn.config import load_config
from genunlearn.engine.loop import Loop
from genunlearn.errors import InputError
from genunlearn.records import Result, RunRecord
from genunlearn.reports.network.continual import read_steps, read_stream, write_comparison, write_report
from genunlearn.runs.api import run
from genunlearn.runs.network.continual import ContinualLearner
from genunlearn.runs.network.continual.run import ContinualRun

STREAM = "request.stream=[learn:0, learn:1, forget:class:2, learn:2]"
QUICK = (
    STREAM,
    "request.tasks=[[0, 1], [2, 3], [4, 5]]",
    "request.limit=12",
    "train={epochs: 2, learning_rate: 0.01, batch_size: 8, save_every: 1}",
    "forget_train={epochs: 2, batch_size: 8, save_every: 1}",
)


def config(name="uniclun", *overrides):
    return load_config(f"continual/digits/{name}", (*QUICK, *overrides))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stream") / "out"
    return run(config(), out=folder), folder


@pytest.mark.slow
def test_every_request_is_measured_beside_the_oracle(done):
    record, folder = done
    assert [row["request"] for row in record.rounds] == ["learn:0", "learn:1", "forget:class:2", "learn:2"]
    first, _, gone, last = read_steps(record)
    assert {one.target for one in first.results} == {"unlearned"}
    known = last.find("accuracy", "unlearned", "test")
    assert known.n == sum(last.find("accuracy", "unlearned", f"class {k}").n for k in (0, 1, 3, 4, 5))
    assert known.low <= known.value <= known.high
    assert gone.find("accuracy", "oracle", "3 forget:class:2").value == 0.0  # it has no such class
    assert {one.n for one in gone.results if one.name == "zrf"} == {12}
    assert {one.target for one in gone.results if one.name == "mia_matched"} == {"original", "unlearned", "oracle"}
    assert last.find("activation_distance", "unlearned", "forget").value > 0
    assert [vars(one) for one in record.results] == record.rounds[-1]["results"]
    assert (folder / "model" / "model.safetensors").is_file() and record.hashes["model"]


@pytest.mark.slow
def test_the_report_shows_what_was_measured(done, tmp_path):
    record, folder = done
    page = (folder / "report.html").read_text()
    assert read_stream(record).verdict in page and "Request 3 forget:class:2" in page and "<script" not in page
    assert page.count("<svg") == 2 * 2  # the stream and one set; wide and narrow
    assert "a run, oracle" in write_comparison({"a run": record}, tmp_path).read_text()


def test_a_record_from_elsewhere_is_not_believed(tmp_path):
    rows = [{"name": 1, "target": "oracle", "value": 0.5}, {"name": "accuracy"}, "text", None]
    record = RunRecord(rounds=[{"request": 3, "results": rows}, {"results": "none"}, {}], request={"stream": 4})
    assert [step.results for step in read_steps(record)] == [(), (), ()]
    assert "did not finish" in write_report(record, tmp_path).read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "after"), [("uniclun", 30), ("der_unsir", 17)])
def test_a_killed_run_goes_on_to_the_same_weights(name, after, done, tmp_path, monkeypatch):
    own = config(name, "unlearn.impair_steps=3", "unlearn.repair_steps=3") if name != "uniclun" else config(name)
    step, calls = Loop.step, []

    def die(self, *args):
        calls.append(1)
        if len(calls) == after:
            raise KeyboardInterrupt
        return step(self, *args)

    with monkeypatch.context() as patched:
        patched.setattr(Loop, "step", die)
        with pytest.raises(KeyboardInterrupt):
            run(own, out=tmp_path / "out")
    record = run(own, out=tmp_path / "out", resume=True)
    whole = done[0] if name == "uniclun" else run(own, out=tmp_path / "whole")
    assert [vars(one) for one in record.results] == [vars(one) for one in whole.results]
    assert record.hashes["model"] == whole.hashes["model"] and record.cost["steps"] == whole.cost["steps"]


@pytest.mark.slow
def test_the_codes_form_and_ewc_go_through_the_stream(tmp_path):
    for name, overrides in {"uniclun_code": (), "ewc": ("evaluate.oracles=0",)}.items():
        record = run(config(name, *overrides), out=tmp_path / name)
        assert record.outcome in ("forgotten", "not_forgotten", "collapsed", "trained", "undecided")
    assert any("no oracle row" in note for note in record.notes)


PLANTED = {
    # accuracy of learner before, learner after and oracle on what goes; of learner and oracle on what stays
    "forgotten": ((0.9, 0.1, 0.0), (0.9, 0.9), "forgotten", None),
    "still told": ((0.9, 0.8, 0.0), (0.9, 0.9), "not_forgotten", "told more often than by the oracle, by 0.80"),
    "an oracle that knows": ((0.9, 0.9, 0.9), (0.9, 0.9), "undecided", "accuracy 0.90, by the oracle with 0.90"),
    "never known": ((0.05, 0.0, 0.0), (0.9, 0.9), "undecided", "request 3 forget:class:2 shows no forgetting"),
    "a wreck": ((0.9, 0.0, 0.0), (0.2, 0.9), "collapsed", "0.70 of accuracy below the oracle"),
    "two wrecks": ((0.9, 0.0, 0.0), (0.3, 0.2), "collapsed", "both less than half"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_no_stream_is_called_forgotten_that_could_not_have_shown_otherwise(name, tmp_path):
    goes, stays, outcome, said = PLANTED[name]
    planted = ContinualRun(config(), tmp_path / "out")
    rows = list(zip(("original", "unlearned", "oracle"), ["3 forget:class:2"] * 3, goes, strict=True))
    rows += zip(("unlearned", "oracle"), ["test"] * 2, stays, strict=True)
    results = [Result(name="accuracy", target=target, group=group, value=value) for target, group, value in rows]
    planted.record.rounds = [{"results": [vars(one) for one in results]}] * 4
    planted.record.results = results
    planted._judge()
    assert planted.record.outcome == outcome
    assert said in " ".join(planted.record.notes) if said else not planted.record.notes


def test_what_later_tasks_overlay_was_not_forgotten_on_request(tmp_path):
    planted = ContinualRun(config(), tmp_path / "out")

    def results(after: float) -> list[Result]:
        goes = zip(("original", "unlearned", "oracle"), ["3 forget:class:2"] * 3, (0.9, after, 0.0), strict=True)
        rows = [*goes, ("unlearned", "test", 0.9), ("oracle", "test", 0.9)]
        return [Result(name="accuracy", target=target, group=group, value=value) for target, group, value in rows]

    planted.record.rounds = [{"results": [vars(one) for one in results(0.5)]}] * 4
    planted.record.results = results(0.0)
    planted._judge()
    assert planted.record.outcome == "undecided"
    assert planted.record.notes == [
        "right after request 3 forget:class:2 the set was still told, with accuracy 0.50, by the oracle with 0.00"
    ]


def test_a_handful_of_items_shows_no_forgetting(tmp_path):
    planted = ContinualRun(config("uniclun", "request.limit=5"), tmp_path / "out")
    levels = zip(("original", "unlearned", "oracle"), (1.0, 0.0, 0.0), strict=True)
    group = "3 forget:class:2"
    results = [Result(name="accuracy", target=target, group=group, value=value) for target, value in levels]
    planted.record.rounds = [{"results": [vars(one) for one in results]}] * 4
    assert not planted._judge_at_once(2, group)
    assert planted.record.notes == [f"request {group} shows no forgetting: 5 items are too few to tell"]


BAD = {
    "empty stream": (("request.stream=[]",), "the stream is empty"),
    "never learnt": (("request.stream=[learn:0, forget:class:4]",), "class 4 is not known"),
    "unknown class": (("request.stream=[learn:0, forget:class:12]",), "class 12 is not known"),
    "everything": (("request.stream=[learn:0, forget:task:0]",), "leaves nothing that was learnt"),
    "tasks": (("request.tasks=3",), "10 classes cannot be shared out evenly"),
    "memory": (("method.capacity=1", "seed=1"), "holds nothing then of what must stay"),
    "data": (("request.data=/nowhere.npz",), "no such file"),
    "folder": (("request.data=/nowhere",), "no such folder"),
    "method": (("unlearn.name=unsire",), "did you mean 'unsir'"),
    "part": (("unlearn.name=unsir", "request.stream=[learn:0, learn:1, forget:random:5]"), "forgets whole classes"),
    "field": (("unlearn.name=unsir", "unlearn.noise=3"), "unlearn.noise: method 'unsir' has no 'noise'"),
    "federation": (("unlearn.name=conda",), "unlearn.name: method 'conda' needs a federation, whose server has"),
    "learner": (("method.name=unicln",), "did you mean 'uniclun'"),
    "gamma": (("method.gamma=2",), "gamma = 2"),
    "lab": (("model.source=lab:diabetes",), "is for domain 'regression'"),
    "words": (("request.data=lab:text",), "the network cannot be asked|is a sequence|inputs"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_line_and_leaves_nothing(name, tmp_path):
    overrides, said = BAD[name]
    with pytest.raises(InputError, match=said) as error:
        ContinualRun(config("uniclun", *overrides), tmp_path / "out")
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_check_says_what_a_run_would_do():
    assert ContinualRun.check(config()) == "uniclun on lab:digits: 3 tasks, 1 request to forget by its own loss"


# ---- from Python --------------------------------------------------------------------------------------------------


def points(labels) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.tensor(labels)
    spots = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 3.0], [0.0, -3.0]])
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 0.3, (len(labels), 2))).float()
    return spots[labels] + noise, labels


def learner(**options) -> ContinualLearner:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 4))
    method = {"name": "er", "capacity": 40}
    return ContinualLearner(network, **{"method": method, **options})


def accuracy(model: ContinualLearner, label: int) -> float:
    x, y = points([label] * 50)
    return float((model.network(x).argmax(1) == y).float().mean())


def test_a_learner_learns_and_forgets():
    from genunlearn.config.continual import ContinualTrainConfig

    fast = ContinualTrainConfig(learning_rate=0.02, epochs=15)
    model = learner(train=fast)
    model.learn(points([0, 1] * 30))
    model.learn(points([2, 3] * 30))
    assert min(accuracy(model, label) for label in range(4)) > 0.9
    gone = model.forget(classes=[3], data=points([3] * 30))
    assert len(gone) == 30 and all(int(item.target) != 3 for item in model.memory.items)
    assert accuracy(model, 3) < 0.6 < 0.9 < accuracy(model, 0)
    with pytest.raises(InputError, match="class 3 cannot be forgotten"):
        model.forget(classes=[3])


def test_a_learner_refuses_what_cannot_be():
    model = learner(method={"name": "er", "capacity": 4})
    with pytest.raises(InputError, match="class 0 cannot be forgotten: it was never learnt"):
        model.forget(classes=[0])
    model.learn(points([0, 1] * 10))
    for asked, said in (({}, "nothing to forget"), ({"task": 0}, "forgets everything")):
        before = model.memory.state()
        with pytest.raises(InputError, match=said):
            model.forget(**asked)
        assert model.memory.state() == before
    with pytest.raises(InputError, match="label 9 of item"):
        model.learn((torch.zeros(2, 2), torch.tensor([9, 9])))
    others = [key for key in model.memory.known if key not in {item.id for item in model.memory.items}]
    with pytest.raises(InputError, match="the memory holds none of these 1 items: give them as data"):
        model.forget(ids=others[:1])
