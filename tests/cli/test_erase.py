"""Erasing concepts through the command line: what it leaves, what it refuses, killed and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from genunlearn.contracts import EditReport
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.sampling import Sampling
from genunlearn.engine.checkpoints import Checkpoints
from genunlearn.records import read_record
from genunlearn.registry import METHODS
from tests.tiny_pipelines import tiny

ROOT = Path(__file__).parents[2]
ESD = {"name": "esd", "trajectories": 1, "steps": 3}
TRAIN = {"learning_rate": 0.001, "batch_size": 2, "max_steps": 4, "save_every": 1}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a tiny Stable Diffusion."""
    folder = tmp_path_factory.mktemp("pipeline") / "sd1"
    tiny("sd1").save_pretrained(folder)
    return folder


@pytest.fixture
def write_erasure(workplace: Path, pipeline: Path) -> Callable[..., Path]:
    """Write a small run; arguments replace whole sections."""

    def write_erasure(**sections: Any) -> Path:
        data = {
            "domain": "diffusion",
            "model": {"source": str(pipeline)},
            "request": {"concepts": ["cat -> dog"], "preserve": ["church"], "templates": ["a {}"]},
            "method": ESD,
            "parameters": {"kind": "full"},
            "train": TRAIN,
            "evaluate": {"images": 2, "steps": 2, "batch_size": 8},
        } | sections
        path = workplace / "erase.yaml"
        path.write_text("".join(f"{name}: {json.dumps(section)}\n" for name, section in data.items()))
        return path

    return write_erasure


def draw(model: Diffusion) -> torch.Tensor:
    return model.images(["a cat", "a church"], [1, 2], Sampling(steps=2, guidance=3.0))


# ---- what a run leaves ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "kind", "file"),
    [
        (ESD, "full", "delta.safetensors"),
        (ESD, "lora", "pytorch_lora_weights.safetensors"),
        ({"name": "uce"}, "full", "pytorch_lora_weights.safetensors"),
        ({"name": "neg_grad_plus"}, "full", "delta.safetensors"),
        ({"name": "ssd", "alpha": 1.5, "strength": 0.5}, "full", "delta.safetensors"),
    ],
)
def test_a_run_leaves_a_record_a_patch_images_and_a_report(
    call, write_erasure, workplace, pipeline, method, kind, file
):
    done = call("run", write_erasure(method=method, parameters={"kind": kind, "rank": 2}), "--out", "out")
    assert done.code == 0, done.err
    record, out = read_record(workplace / "out"), workplace / "out"
    assert (record.status, record.request["concepts"]) == ("completed", ["cat"])
    assert {"config", "base", "request", "patch"} <= record.hashes.keys()
    assert {row["group"] for row in record.examples} == {"forget", "preserve"}
    for row in record.examples:
        assert Image.open(out / row["original"]).size == Image.open(out / row["unlearned"]).size == (16, 16)
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2 * len(record.examples)
    patched, plain = Diffusion.load(str(pipeline), device="cpu"), Diffusion.load(str(pipeline), device="cpu")
    assert (out / "patch" / file).is_file()
    patched.load_patch(out / "patch")
    assert not torch.allclose(draw(patched), draw(plain), atol=1e-4)


def test_the_patch_of_an_edit_holds_what_it_has_changed(call, write_erasure, workplace):
    from safetensors.torch import load_file

    method = {"name": "ssd", "alpha": 1.5, "strength": 0.5}
    assert call("run", write_erasure(method=method), "--out", "out").code == 0
    patch = load_file(workplace / "out" / "patch" / "delta.safetensors")
    assert f"{len(patch)} weight tensors changed" in read_record(workplace / "out").notes


def test_a_whole_pipeline_can_be_written(call, write_erasure, workplace, pipeline):
    done = call("run", write_erasure(), "--out", "out", "--set", "export=pipeline")
    assert done.code == 0, done.err
    patched = Diffusion.load(str(workplace / "out" / "model"), device="cpu")
    assert not torch.allclose(draw(patched), draw(Diffusion.load(str(pipeline), device="cpu")), atol=1e-4)


def test_a_rule_of_guidance_leaves_no_patch(call, write_erasure, workplace):
    assert call("run", write_erasure(method={"name": "negative_prompt"}), "--out", "out").code == 0
    assert not (workplace / "out" / "patch").exists()
    assert "no weight was changed" in " ".join(read_record(workplace / "out").notes)


def test_an_edit_that_ruins_the_pipeline_is_called_so(call, write_erasure, workplace, monkeypatch):
    def ruin(self: Any, model: Any, splits: Any) -> EditReport:
        # Random weights have nothing to lose, so what the edit says of itself is made up.
        found = {"is_collapsed": True, "alpha": 10.0, "safe_alpha": 20.0, "retain_loss_before": 0.25}
        return EditReport(changed=(), details=found)

    monkeypatch.setattr(METHODS.get("ssd"), "apply", ruin)
    done = call("run", write_erasure(method={"name": "ssd"}), "--out", "out")
    record = read_record(workplace / "out")
    assert (done.code, record.outcome) == (0, "collapsed"), done.err
    rose = "the retain loss rose from 0.25 by more than method.max_retain_rise"
    note = f"{rose}; method.alpha = 20 would have kept it within"
    assert note in record.notes and note in done.err
    assert "The model collapsed" in (workplace / "out" / "report.html").read_text()


def test_several_runs_compare(call, write_erasure, workplace):
    for name in ("uce", "time"):
        assert call("run", write_erasure(method={"name": name}), "--out", f"both/{name}").code == 0
    done = call("compare", "both/uce", "both/time", "--out", "both")
    assert done.code == 0
    assert "| uce |" in (workplace / "both" / "compare.md").read_text()
    assert "data:image/png" in (workplace / "both" / "compare.html").read_text()


def test_samples_of_the_original_and_of_a_patch(call, write_erasure, workplace, pipeline):
    assert call("run", write_erasure(method={"name": "uce"}), "--out", "out").code == 0
    done = call(
        "sample", "--model", pipeline, "--patch", "out/patch", "--prompt", "a cat", "--grid", "grid.png",
        "--images", "3", "--steps", "2",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "written: grid.png" in done.out
    width, height = Image.open(workplace / "grid.png").size
    assert (width, height) == (3 * 18 * 4, 2 * 18 * 4)


# ---- a judge and prompts of one's own ---------------------------------------------------------------------------


def test_a_user_s_classifier_and_prompts_judge(call, write_erasure, workplace):
    from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessor

    labels = {0: "cat", 1: "dog", 2: "church"}
    torch.manual_seed(0)
    config = ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8],
        depths=[1, 1],
        id2label=labels,
        label2id={v: k for k, v in labels.items()},
    )
    ResNetForImageClassification(config).save_pretrained("judge")
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained("judge")
    Path("prompts.csv").write_text(
        "prompt,concept,seed\na photo of a cat,cat,5\nthe church,church,6\na red dog,dog,7\n"
    )
    settings = {"images": 2, "steps": 2, "judge": "judge", "prompts": "prompts.csv", "suite": "images-quick"}
    path = write_erasure(method={"name": "uce"}, evaluate=settings)
    done = call("run", path, "--out", "out", "--set", "request.force=true")
    assert done.code == 0, done.err
    record = read_record(workplace / "out")
    assert record.find("ua", "unlearned", "cat").n == 1
    assert record.find("ira", "unlearned", "cat").n == 2
    assert [row["seed"] for row in record.examples] == [5, 6, 7]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("prompt\na cat\n", "prompts.csv:1: no column 'concept'"),
        ("prompt,concept\n ,cat\n", "prompts.csv:2: an empty prompt"),
        ("prompt,concept,seed\na cat,cat,x\n", "prompts.csv:2: seed = 'x' is not a whole number"),
        ("prompt,concept\na dog,dog\n", "no row names the concept 'cat'"),
        ("prompt,concept\n", "prompts.csv: no prompts"),
    ],
)
def test_files_of_prompts_that_cannot_be_used(refused, write_erasure, text, complaint):
    Path("prompts.csv").write_text(text)
    assert complaint in refused("run", write_erasure(evaluate={"prompts": "prompts.csv"}), "--out", "out")


# ---- what is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sections", "complaint"),
    [
        ({"request": {"concepts": []}}, "no concept"),
        ({"request": {"concepts": ["cat", "Cat"]}}, "named twice"),
        ({"request": {"concepts": ["cat"], "preserve": ["Cat"]}}, "both to be forgotten and to be preserved"),
        ({"request": {"concepts": ["cat " * 40]}}, "tokens"),
        ({"request": {"concepts": ["cat"], "preserve": ["auto"]}}, "auto is for the lab"),
        ({"request": {"concepts": ["cat"], "templates": ["a cat"]}}, "has to have one {}"),
        ({"method": {"name": "unstar"}}, "is for lm, not for diffusion"),
        ({"method": {"name": "random_labels"}, "request": {"concepts": ["cat"]}}, "needs retain data"),
        ({"method": {**ESD, "parameters": "xattn"}}, "selects nothing"),
        ({"parameters": {"kind": "full", "target_modules": "nowhere"}}, "selects nothing"),
        ({"model": {"source": "lab:diffusio"}}, "did you mean 'diffusion'"),
        ({"model": {"source": "nowhere"}}, "nowhere"),
        ({"evaluate": {"judge": "nowhere"}}, "evaluate.judge = 'nowhere'"),
        ({"evaluate": {"imagse": 4}}, "did you mean 'images'"),
        ({"domain": "difusion"}, "did you mean 'diffusion'"),
    ],
)
def test_bad_input_is_refused_in_one_line(refused, write_erasure, sections, complaint):
    assert complaint in refused("run", write_erasure(**sections), "--out", "out")


def test_a_pipeline_with_a_missing_part_is_refused(refused, write_erasure, pipeline, workplace):
    import shutil

    shutil.copytree(pipeline, workplace / "torn")
    shutil.rmtree(workplace / "torn" / "vae")
    complaint = refused("run", write_erasure(model={"source": "torn"}), "--out", "out")
    assert "part 'vae' (AutoencoderKL) is missing" in complaint


def test_a_patch_for_another_base_is_refused(call, refused, write_erasure, workplace):
    assert call("run", write_erasure(method={"name": "uce"}), "--out", "out").code == 0
    tiny("sd1", seed=1).save_pretrained(workplace / "other")
    complaint = refused("sample", "--model", "other", "--patch", "out/patch", "--prompt", "a cat")
    assert "made for other base weights" in complaint


@pytest.mark.parametrize(("steps", "complaint"), [(1, "has broken the model: "), (4, "term 'forget' = nan")])
def test_a_broken_model_is_reported_and_not_exported(call, write_erasure, workplace, steps, complaint):
    train = {**TRAIN, "learning_rate": 1e4, "max_steps": steps}
    done = call("run", write_erasure(method={**ESD, "parameters": "full"}, train=train), "--out", "out")
    assert done.code == 1
    assert complaint in done.err
    assert (workplace / "out" / "report.html").is_file()
    record = read_record(workplace / "out")
    assert record.status == "failed"
    assert "learning" in record.error
    assert not (workplace / "out" / "patch").exists()


# ---- killed and resumed -----------------------------------------------------------------------------------------


def start(workplace: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "genunlearn", "run", "erase.yaml", *arguments]
    return subprocess.Popen(command, cwd=workplace, env=environment, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_patch(call, write_erasure, workplace):
    write_erasure(train={**TRAIN, "max_steps": 40})
    assert call("run", "erase.yaml", "--out", "straight").code == 0
    process = start(workplace, "--out", "out")
    state, deadline = Checkpoints(workplace / "out" / "state"), time.monotonic() + 120
    while (position := state.position()) is None or len(position.history) < 3:
        assert time.monotonic() < deadline
        assert process.poll() is None, "the run was over before it could be killed"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert call("run", "erase.yaml", "--out", "out", "--resume").code == 0
    first, second = (read_record(workplace / name) for name in ("straight", "out"))
    assert first.status == second.status == "completed"
    assert first.hashes == second.hashes


@pytest.mark.slow
def test_two_processes_train_and_draw_what_one_does(call, write_erasure, workplace):
    from safetensors.torch import load_file

    write_erasure(evaluate={"images": 3, "steps": 2, "batch_size": 2})  # the last round has a single batch
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    assert call("run", "erase.yaml", "--out", "one").code == 0
    command = [sys.executable, *launcher, "-m", "genunlearn", "run", "erase.yaml", "--out", "two"]
    done = subprocess.run(command, cwd=workplace, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    one, two = (load_file(workplace / name / "patch" / "delta.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)
    images = [
        {path.name: path.read_bytes() for path in (workplace / name / "images" / "original").iterdir()}
        for name in ("one", "two")
    ]
    assert len(images[0]) > 3 and images[0] == images[1]
