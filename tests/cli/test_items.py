"""Classifiers and regressors through the command line: from a shipped configuration to a report, killed and resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from genunlearn.config import list_configs
from genunlearn.engine.checkpoints import Checkpoints
from genunlearn.records import read_record

ROOT = Path(__file__).parents[2]
QUICK = ("--set", "evaluate.attacks=[mia_matched]")
SUITES = ("classifier/digits/", "classifier/text/", "regression/diabetes/", "regression/tumours/")
CONFIGS = [name for name in list_configs() if name.startswith(SUITES)]


@pytest.fixture
def refused(call, workplace) -> Callable[..., str]:
    """Run a command that must be refused; gives its complaint."""

    def refused(*arguments: object) -> str:
        before = sorted(workplace.rglob("*"))
        done = call(*arguments)
        complaints = [line for line in done.err.splitlines() if line.startswith("genunlearn: ")]
        assert (done.code, done.out, len(complaints)) == (2, "", 1), done
        assert sorted(workplace.rglob("*")) == before
        return complaints[0].removeprefix("genunlearn: ")

    return refused


def test_a_shipped_configuration_from_end_to_end(call, workplace):
    done = call("run", "regression/tumours/fine_tune", "--out", "out", *QUICK)
    assert done.code == 0, done.err
    assert "range:22.. on lab:tumours: mean absolute error" in done.out
    assert "report: out/report.html" in done.out
    record = read_record(workplace / "out")
    assert record.status == "completed"
    assert {result.target for result in record.results} == {"original", "unlearned", "oracle"}
    assert (workplace / "out" / "model" / "model.safetensors").is_file()
    (workplace / "out" / "report.html").unlink()
    assert call("report", "out").out == "report: out/report.html\n"
    assert "Like a model that never saw it" in (workplace / "out" / "report.html").read_text()


def test_classifiers_and_regressors_are_compared_in_one_report(call, workplace):
    for config, folder in (("regression/diabetes/ssd", "a"), ("regression/tumours/ssd", "b")):
        assert call("run", config, "--out", folder, *QUICK).code == 0
    done = call("compare", "a", "b", "--out", "both")
    assert done.code == 0, done.err
    page = (workplace / "both" / "compare.html").read_text()
    assert "range:..75 on lab:diabetes" in page
    assert "range:22.. on lab:tumours" in page


@pytest.mark.parametrize("name", CONFIGS)
def test_every_configuration_is_fine(call, name):
    done = call("check", name)
    assert done.code == 0, done.err
    assert done.out.endswith(": fine\n")


@pytest.mark.parametrize(
    ("config", "overrides", "complaint"),
    [
        ("classifier/digits/ssd", ["request.forget=class:12"], "class 12 does not occur; there are 0, 1, 2, 3"),
        ("classifier/digits/ssd", ["request.forget=range:3.."], "a value range needs one real-valued target"),
        ("classifier/digits/ssd", ["request.forget=random:0.0001"], "amount = 0.0001 of 1437 items"),
        ("classifier/digits/ssd", ["request.forget=class:0,1,2,3,4,5,6,7,8,9"], "marks all 1437 items"),
        ("classifier/digits/ssd", ["request.forget=index:gone.txt"], "no file gone.txt"),
        ("classifier/digits/ssd", ["request.retain=none"], "method 'ssd' needs retain data"),
        ("classifier/digits/ssd", ["parameters.kind=lora"], "works on the weights themselves, not on a LoRA"),
        ("classifier/digits/ssd", ["method.alpha=0"], "ssd.alpha = 0: input should be greater than 0"),
        ("classifier/digits/unsir", ["request.forget=subclass:4"], "'unsir' forgets whole classes"),
        ("regression/diabetes/blindspot", ["domain=classifier"], "is for domain 'regression', not 'classifier'"),
        ("regression/diabetes/fine_tune", ["train.stop_recall=0.1"], "a regressor has no recall; leave it out"),
        ("regression/diabetes/fine_tune", ["request.forget=range:500.."], "range 500..inf holds no item"),
        ("regression/diabetes/fine_tune", ["request.froget=range:5.."], "unknown key 'request.froget'"),
    ],
)
def test_what_cannot_be_done(refused, config, overrides, complaint):
    sets = [part for override in overrides for part in ("--set", override)]
    assert complaint in refused("run", config, "--out", "out", *sets)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["scrub", "retrain"])
def test_a_killed_run_resumes_to_the_same_weights(call, tmp_path, monkeypatch, method):
    monkeypatch.chdir(tmp_path)
    sets = [part for text in ("train.save_every=1", "evaluate.attacks=[]") for part in ("--set", text)]
    command = ["run", f"classifier/digits/{method}", *sets]
    assert call(*command, "--out", "straight").code == 0
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "genunlearn", *command, "--out", "out"], env=env)
    state, deadline = Checkpoints(tmp_path / "out" / "state"), time.monotonic() + 120
    while (position := state.position()) is None or len(position.history) < 30:
        assert time.monotonic() < deadline
        assert process.poll() is None, "the run was over before it could be killed"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert call(*command, "--out", "out", "--resume").code == 0
    straight, resumed = (read_record(tmp_path / name) for name in ("straight", "out"))
    assert straight.hashes == resumed.hashes  # that of the weights among them
    assert straight.results == resumed.results
