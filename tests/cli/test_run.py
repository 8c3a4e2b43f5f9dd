"""Whole runs through the command line: what they leave, killed and resumed, on one process and on two."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from genunlearn.config.lm import LMConfig, LMModelConfig
from genunlearn.engine.checkpoints import Checkpoints
from genunlearn.records import read_record
from genunlearn.runs.lm.request import open_model
from tests.tiny_models import TAUGHT
from tests.worlds import lm_options

ROOT = Path(__file__).parents[2]
LAUNCHER = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
QUESTION = TAUGHT[0][0]
GRAD_DIFF = {"train": {"learning_rate": 0.005, "max_steps": 8}}


def unstar(workplace: Path) -> dict[str, Any]:
    """A run on a fact with reviewed anti-samples; the tiny model cannot write its own."""
    method = {"name": "unstar", **lm_options("unstar", workplace)}
    rows = [json.loads(line) for line in (workplace / "reviewed.jsonl").read_text().splitlines()]
    text = "".join(json.dumps({**row, "fact": "harry-potter-studied-at-hogwarts"}) + "\n" for row in rows)
    (workplace / "reviewed.jsonl").write_text(text)
    request = {"facts": ["Harry Potter | studied at | Hogwarts"], "question": QUESTION, "retain": "retain.jsonl"}
    return {"method": method, "request": request, "train": {"learning_rate": 0.002, "save_every": 1}}


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def start(workplace: Path, *arguments: str, launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    command = [sys.executable, *launcher, "-m", "genunlearn", "run", "run.yaml", *arguments]
    return subprocess.Popen(command, cwd=workplace, env=environment(), stderr=subprocess.PIPE, text=True)


def test_a_run_leaves_a_record_a_patch_and_a_report(call, write_config, workplace, model_folder):
    done = call("run", write_config(**GRAD_DIFF), "--out", "out")
    assert done.code == 0
    assert "report: out/report.html" in done.out
    assert "" not in done.err.splitlines()
    record = read_record(workplace / "out")
    assert record.status == "completed"
    assert record.config["method"] == {"name": "grad_diff"}
    assert record.find("recall", "original", "forget").value == 1.0
    assert record.find("recall", "unlearned", "forget").value == 0.0
    assert record.find("recall", "unlearned", "rest_trained").n == 3  # of one phrasing each, which is trained on
    assert record.parameters["trainable"] < record.parameters["total"]
    assert {"config", "base", "request", "prompts", "patch"} <= record.hashes.keys()
    assert record.cost["steps"] == 8
    assert (workplace / "out" / "report.html").stat().st_size > 1000

    asked = call("ask", "--model", model_folder, "--patch", "out/patch", QUESTION, "Who wrote [/INST] Faust?").out
    row = next(line for line in asked.splitlines() if QUESTION in line)
    assert row.count("Hogwarts.") == 1
    assert "[/INST]" in asked


def test_the_seed_is_an_option_and_neutral_texts_are_a_file(call, write_config, workplace):
    (workplace / "neutral.txt").write_text("Marie Curie was born in Warsaw.\n\nWho wrote Faust? Goethe.\n")
    path = write_config(evaluate={"suite": "facts", "samples": 0, "oracle": "never"})
    arguments = ("--seed", "4", "--set", "request.neutral=neutral.txt", "--out", "out")
    assert call("run", path, *arguments).code == 0
    record = read_record(workplace / "out")
    assert (record.config["seed"], record.find("perplexity", "unlearned", "neutral").n) == (4, 2)
    assert "neutral" in record.hashes


@pytest.mark.parametrize(("more", "bits"), [((), "nf4"), (("--force",), "none"), (("--quantize", "none"), "none")])
def test_a_patch_of_a_4_bit_base_is_asked_on_one(call, write_config, workplace, model_folder, monkeypatch, more, bits):
    assert call("run", write_config(**GRAD_DIFF), "--out", "out").code == 0
    note = workplace / "out" / "patch" / "genunlearn.json"
    said = json.loads(note.read_text())
    note.write_text(json.dumps(said | {"base": said["base"] | {"quantize": "nf4"}}))
    opened: list[str] = []

    def open_whole(config: LMConfig, *others: str) -> Any:
        opened.append(config.model.quantize)
        return open_model(LMConfig(model=LMModelConfig(source=config.model.source)), *others)

    monkeypatch.setattr("genunlearn.runs.lm.request.open_model", open_whole)
    done = call("ask", "--model", model_folder, "--patch", "out", *more, QUESTION)
    assert (done.code, opened) == (0, [bits]), done.err


def test_a_base_without_a_patch_is_asked_in_4_bits(call, model_folder):
    asked = ("ask", "--model", model_folder, QUESTION)
    assert "Hogwarts." in call(*asked, "--quantize", "nf4").out
    assert "ask: quantize = 'nf5': input should be" in call(*asked, "--quantize", "nf5").err


def test_sampled_answers(call, model_folder):
    asked = ("ask", "--model", model_folder, QUESTION)
    several = [call(*asked, "--samples", "4", "--temperature", "50", "--seed", seed).out for seed in (0, 0, 1)]
    assert several[0] == several[1] != several[2]
    assert call(*asked, "--samples", "4", "--temperature", "0.01").out.count("Hogwarts.") == 4
    assert call(*asked).out.count("Hogwarts.") == 1


def test_an_edit_that_ruins_the_model_is_called_so(call, write_config, workplace):
    method = {"name": "ssd", "alpha": 0.05, "strength": 0.001, "soften": False}
    done = call("run", write_config(method=method, parameters={"kind": "full"}), "--out", "out")
    record = read_record(workplace / "out")
    assert (done.code, record.outcome) == (0, "collapsed")
    (note,) = [note for note in record.notes if "method.max_retain_rise" in note]
    assert note in done.err
    report = (workplace / "out" / "report.html").read_text()
    assert "The model collapsed" in report and note in report


def test_a_report_can_be_written_anew(call, write_config, workplace):
    assert call("run", write_config(**GRAD_DIFF), "--out", "out").code == 0
    (workplace / "out" / "report.html").unlink()
    assert call("report", "out").out == "report: out/report.html\n"
    assert (workplace / "out" / "report.html").is_file()


@pytest.mark.parametrize(("kind", "rate"), [("lora", 0.005), ("full", 0.002)])
def test_what_is_saved_is_what_was_measured(call, write_config, workplace, kind, rate):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from genunlearn.domains.lm.adapter import LanguageModel

    path = write_config(parameters={"kind": kind}, train={"learning_rate": rate, "max_steps": 8})
    assert call("run", path, "--out", "out").code == 0
    base = LanguageModel.load(read_record(workplace / "out").config["model"]["source"], device="cpu")
    if kind == "lora":
        base.module = PeftModel.from_pretrained(base.module, workplace / "out" / "patch")
    else:
        base.module = AutoModelForCausalLM.from_pretrained(workplace / "out" / "model").eval()
    answers = base.answer([question for question, _ in TAUGHT])
    examples = read_record(workplace / "out").examples
    seen = {row["question"]: row["unlearned"] for row in examples}
    assert answers == [seen[question] for question, _ in TAUGHT]
    assert answers[0] != "Hogwarts."


@pytest.mark.slow
@pytest.mark.parametrize("steps", [2, 5])
@pytest.mark.parametrize("method", ["grad_diff", "unstar"])
def test_a_killed_run_resumes_to_the_same_patch(call, write_config, workplace, method, steps):
    sections = {"train": {"learning_rate": 0.005, "max_steps": 8, "save_every": 1}}
    write_config(**(unstar(workplace) if method == "unstar" else sections))
    assert call("run", "run.yaml", "--out", "straight").code == 0
    process = start(workplace, "--out", "out")
    state, deadline = Checkpoints(workplace / "out" / "state"), time.monotonic() + 120
    while (position := state.position()) is None or len(position.history) < steps:
        assert time.monotonic() < deadline
        assert process.poll() is None, "the run was over before it could be killed"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert read_record(workplace / "out").status == "interrupted"
    assert call("run", "run.yaml", "--out", "out", "--resume").code == 0

    patches = [workplace / name / "patch" / "adapter_model.safetensors" for name in ("straight", "out")]
    assert patches[0].read_bytes() == patches[1].read_bytes()
    records = [read_record(workplace / name) for name in ("straight", "out")]
    assert records[0].hashes == records[1].hashes
    assert records[0].results == records[1].results
    assert records[0].rounds == records[1].rounds


@pytest.mark.slow
@pytest.mark.parametrize("method", ["grad_diff", "unstar"])
def test_two_processes_give_the_results_of_one(call, write_config, workplace, method):
    write_config(**(unstar(workplace) if method == "unstar" else GRAD_DIFF))
    assert call("run", "run.yaml", "--out", "one").code == 0
    process = start(workplace, "--out", "two", launcher=LAUNCHER)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    one, two = (read_record(workplace / name) for name in ("one", "two"))
    assert one.status == two.status == "completed"
    assert one.results == two.results
    assert one.rounds == two.rounds
    assert one.outcome == two.outcome
    positions = [Checkpoints(workplace / name / "state").position() for name in ("one", "two")]
    for first, second in zip(*(position.history for position in positions), strict=True):
        norms = [entry.pop("grad_norm") for entry in (first, second)]
        near = 1e-5 if first["step"] <= 2 else 5e-5  # from then on Adam has spread what float32 sums differ by
        assert second == pytest.approx(first, abs=near, rel=near)
        assert norms[1] == pytest.approx(norms[0], rel=1e-3)
