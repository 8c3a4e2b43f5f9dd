"""``genunlearn value`` and ``genunlearn synthetic``: to a report, compared, killed and resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from genunlearn.records import read_record

ROOT = Path(__file__).parents[2]
VALUE = ("value", "--data", "sklearn:iris", "--request", "class:1", "--limit", 40, "--set", "evaluate.curves=1")
VALUE += ("--set", "evaluate.repair=[0.5]")
SYNTHETIC = ("synthetic", "--data", "sklearn:iris", "--set", "evaluate.draws=1")


def test_values_from_end_to_end_and_beside_each_other(call, workplace):
    done = call(*VALUE, "--method", "knn_shapley", "--compare", "lava", "--out", "out")
    assert done.code == 0, done.err
    assert "cost of retraining without it" in done.out and "comparison: out/compare.html" in done.out
    records = {name: read_record(workplace / "out" / name) for name in ("knn_shapley", "lava")}
    assert {record.outcome for record in records.values()} == {"valued"}
    page = (workplace / "out" / "compare.html").read_text()
    assert "Value by knn_shapley" in page and "Value by lava" in page and "class:1" in page
    assert (workplace / "out" / "compare.md").read_text().startswith("# What requests cost")
    (workplace / "out" / "lava" / "report.html").unlink()
    assert call("report", "out/lava").out == "report: out/lava/report.html\n"
    done = call(*VALUE, "--method", "knn_shapley", "--compare", "lava", "--out", "out", "--resume")
    assert done.code == 0 and done.out.count("nothing is done again") == 2
    again = call("compare", "out/knn_shapley", "out/lava", "--out", "both")
    assert again.code == 0 and (workplace / "both" / "compare.html").read_text() == page


@pytest.mark.slow
def test_synthetic_rows_from_end_to_end_and_beside_each_other(call, workplace):
    done = call(*SYNTHETIC, "--method", "independent", "--compare", "bootstrap", "--out", "out")
    assert done.code == 0, done.err
    assert "Learnt without" in done.out and "comparison: out/compare.html" in done.out
    page = (workplace / "out" / "compare.html").read_text()
    assert "independent" in page and "held-out real rows" in page
    assert (workplace / "out" / "compare.md").read_text().startswith("# Synthetic rows, generator by generator")
    given = "out/independent/synthetic.csv"
    done = call(*SYNTHETIC, "--synthetic", given, "--out", "given")
    assert done.code == 0, done.err
    assert read_record(workplace / "given").config["method"] == {"name": "given", "file": given}


def test_a_table_of_ones_own(call, workplace):
    rows = [f"p{k},{k % 7},{k * 0.5},{'yes' if k % 3 else 'no'}" for k in range(60)]
    (workplace / "own.csv").write_text("\n".join(["id,a,b,ill", *rows]) + "\n")
    own = ("synthetic", "--data", "own.csv", "--target", "ill", "--method", "independent", "--set", "evaluate.draws=1")
    done = call(*own, "--drop", "id", "--category", "a", "--forget", "random:5", "--out", "out")
    assert done.code == 0, done.err
    record = read_record(workplace / "out")
    assert record.config["domain"] == "classifier" and record.request["columns of categories"] == 2


REFUSED = [
    (("value", "--data", "sklearn:wines"), "did you mean 'wine'"),
    (("value", "--request", "class:99"), "class 99 does not occur"),
    (("value", "--method", "shapely"), "unknown valuation 'shapely'"),
    (("value", "--compare", "knn"), "unknown valuation 'knn'"),
    (("value", "--level", "rows"), "request.level = 'rows'"),
    (("value", "--domain", "lm"), "lm/value"),
    (("value", "--unlearned", "nowhere"), "no record at"),
    (("synthetic", "--data", "none.csv"), "there is no such file"),
    (("synthetic", "--data", "bad.csv"), "line 3: 2 values for 3 columns"),
    (("synthetic", "--synthetic", "none.csv"), "none.csv: there is no such file"),
    (("synthetic", "--synthetic", "bad.csv"), "values for 3 columns"),
    (("synthetic", "--forget", "tenth"), "write it as KIND:VALUE"),
    (("synthetic", "--drop", "nothing"), "no column 'nothing'"),
    (("synthetic", "--method", "gan"), "unknown generator 'gan'"),
    (("synthetic", "--set", "evaluate.held_out=0.9"), "evaluate.held_out = 0.9"),
]


@pytest.mark.parametrize(("arguments", "complaint"), REFUSED, ids=[" ".join(given) for given, _ in REFUSED])
def test_what_cannot_be_done_is_said_in_one_line(refused, workplace, arguments, complaint):
    (workplace / "bad.csv").write_text("a,b,target\n1,2,0\n1,2\n")
    assert complaint in refused(*arguments, "--out", "out")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "stages"),
    [((*VALUE, "--method", "leave_one_out"), 5), ((*SYNTHETIC[:-1], "evaluate.draws=3"), 2)],
    ids=["value", "synthetic"],
)
def test_a_killed_run_goes_on_where_it_was(call, tmp_path, monkeypatch, command, stages):
    monkeypatch.chdir(tmp_path)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    texts = [*map(str, command), "--out", "out"]
    process = subprocess.Popen([sys.executable, "-m", "genunlearn", *texts], env=env)
    journal, deadline = tmp_path / "out" / "state" / "journal.jsonl", time.monotonic() + 240
    while not journal.is_file() or journal.read_bytes().count(b"\n") < stages:
        assert time.monotonic() < deadline
        assert process.poll() is None, "the run was over before it could be killed"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = journal.read_bytes()
    assert read_record(tmp_path / "out").status == "interrupted"
    assert call(*texts, "--resume").code == 0
    assert call(*texts[:-1], "straight").code == 0
    assert journal.read_bytes().startswith(before[: before.rindex(b"\n") + 1])  # what was done is not done again
    resumed, straight = (read_record(tmp_path / name) for name in ("out", "straight"))
    assert resumed.results == straight.results
