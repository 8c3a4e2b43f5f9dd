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

from genunlearn.cli.images import HEAD, MARGIN
from genunlearn.contracts import EditReport
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.sampling import Sampling
from genunlearn.engine.checkpoints import Checkpoints
from genunlearn.records import read_record
from genunlearn.registry import METHODS
from tests import strangers
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


@pytest.mark.parametrize("method", [{"name": "negative_prompt"}, {"name": "sld", "warmup": 0}])
def test_a_rule_of_guidance_is_the_patch(call, write_erasure, workplace, pipeline, method):
    assert call("run", write_erasure(method=method), "--out", "out", "--set", "export=lora").code == 0
    assert [path.name for path in (workplace / "out" / "patch").iterdir()] == ["guidance.json"]
    record = read_record(workplace / "out")
    assert "no weight was changed" in " ".join(record.notes) and "patch" in record.hashes
    model = Diffusion.load(str(pipeline), device="cpu")
    plain = draw(model)
    model.load_patch(workplace / "out" / "patch")
    assert not torch.equal(draw(model), plain)


@pytest.mark.parametrize(("export", "file"), [("kohya", "kohya.safetensors"), ("unet", "unet.safetensors")])
@pytest.mark.parametrize("kind", ["full", "lora"])
def test_a_run_exports_for_other_tools(call, write_erasure, workplace, pipeline, export, file, kind):
    path = write_erasure(parameters={"kind": kind, "rank": 2})
    done = call("run", path, "--out", "out", "--set", f"export={export}")
    assert done.code == 0, done.err
    assert (workplace / "out" / "patch" / file).is_file()
    done = call(*ask(pipeline, "--patch", "out"))
    assert done.code == 0, done.err


def test_a_changed_patch_needs_force_and_a_grid_that_is_there_overwrite(call, refused, write_erasure, pipeline):
    assert call("run", write_erasure(method={"name": "negative_prompt"}), "--out", "out").code == 0
    path = Path("out/patch/guidance.json")
    path.write_text(path.read_text().replace('"negative": "cat"', '"negative": "dog"'))
    assert "changed after it was written" in refused(*ask(pipeline, "--patch", "out"))
    assert call(*ask(pipeline, "--patch", "out", "--force")).code == 0
    assert "exists" in refused(*ask(pipeline))
    assert call(*ask(pipeline, "--overwrite")).code == 0


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


def test_a_certificate_is_measured_again_from_images_drawn_anew(call, write_erasure, workplace, pipeline):
    save_judge()
    path = write_erasure(method={"name": "uce"}, evaluate={"images": 2, "steps": 2, "judge": "judge"})
    assert call("run", path, "--out", "run", "--set", "request.force=true").code == 0
    assert call("certify", "run").code == 0
    done = call("verify", "run/certificate", "--model", pipeline, "--rerun", "--set", "evaluate.judge=judge")
    assert (done.code, "in the certificate" in done.out) == (0, True), done.out


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
    picture = Image.open(workplace / "grid.png")
    assert picture.size == (MARGIN + 3 * 18 * 4, HEAD + 2 * 18 * 4)
    for row in range(2):  # prompt and pipeline beside each row, the seed above each column
        box = (0, HEAD + row * 72, MARGIN, HEAD + (row + 1) * 72)
        assert picture.crop(box).convert("L").getextrema()[0] < 64
    for column in range(3):
        box = (MARGIN + column * 72, 0, MARGIN + (column + 1) * 72, HEAD)
        assert picture.crop(box).convert("L").getextrema()[0] < 64
    assert picture.crop((0, HEAD, MARGIN, HEAD + 72)) != picture.crop((0, HEAD + 72, MARGIN, HEAD + 144))


def ask(pipeline: Path, *more: object) -> list[object]:
    return ["sample", "--model", pipeline, "--prompt", "a cat", "--images", "1", "--steps", "1", *more]


def test_a_grid_is_not_written_over(call, refused, workplace, pipeline):
    assert call(*ask(pipeline)).code == 0
    before = (workplace / "grid.png").read_bytes()
    assert "grid.png exists: give another name" in refused(*ask(pipeline, "--prompt", "a dog"))
    assert (workplace / "grid.png").read_bytes() == before


def test_a_run_s_folder_stands_for_its_patch(call, write_erasure, workplace, pipeline):
    assert call("run", write_erasure(method={"name": "uce"}), "--out", "out").code == 0
    for number, patch in enumerate(("out", "out/patch", "out/patch/pytorch_lora_weights.safetensors")):
        assert call(*ask(pipeline, "--patch", patch, "--grid", f"{number}.png")).code == 0
    images = [Image.open(f"{number}.png").crop((MARGIN, HEAD, MARGIN + 72, HEAD + 144)) for number in range(3)]
    assert images[0] == images[1] == images[2]


@pytest.mark.parametrize("source", ["./nowhere/patch", "out/patch", "~/nowhere", "nowhere", "a/b/c"])
def test_a_mistyped_folder_is_not_looked_up(refused, workplace, pipeline, monkeypatch, source):
    (workplace / "out").mkdir()
    monkeypatch.setattr("diffusers.DiffusionPipeline.download", lambda *a, **k: pytest.fail("looked up on the hub"))
    assert f"no pipeline at '{source}'" in refused("sample", "--model", source, "--prompt", "a cat")
    assert "no patch at" in refused(*ask(pipeline, "--patch", source))


# ---- what other tools release -----------------------------------------------------------------------------------


def esd_style(folder: Path) -> list[object]:
    tensors = {name: t for name, t in tiny("sd1", seed=4).unet.state_dict().items() if "attn2" in name}
    return ["--patch", strangers.save(tensors, folder / "esd-vangogh.safetensors")]


def whole_unet(folder: Path) -> list[object]:
    tensors = strangers.ldm_unet(tiny("sd1", seed=4))
    return ["--patch", strangers.save(tensors, folder / "compvis.safetensors")]


def checkpoint(folder: Path) -> list[object]:
    return ["--patch", strangers.save(strangers.single_file(tiny("sd1", seed=4)), folder / "sd.safetensors")]


def half(folder: Path) -> list[object]:
    tiny("sd1", seed=4).save_pretrained(folder / "half", variant="fp16")
    return ["--patch", folder / "half"]


@pytest.mark.parametrize("released", [esd_style, whole_unet, checkpoint, half])
def test_what_others_release_is_drawn_beside_the_original(call, workplace, pipeline, released):
    done = call(*ask(pipeline, *released(workplace)))
    assert done.code == 0, done.err
    picture = Image.open(workplace / "grid.png")
    first, second = (picture.crop((MARGIN, HEAD + row * 72, MARGIN + 72, HEAD + row * 72 + 72)) for row in range(2))
    assert first != second


def test_a_checkpoint_and_a_half_precision_folder_are_originals_too(call, workplace, pipeline):
    half(workplace)
    tiny("sd1", seed=4).save_pretrained(workplace / "configured")
    strangers.save(strangers.single_file(tiny("sd1", seed=4)), workplace / "configured" / "sd.safetensors")
    images = []
    for source in ("half", "configured/sd.safetensors"):
        done = call(*ask(Path(source), "--grid", f"{len(images)}.png"))
        assert done.code == 0, done.err
        images.append(Image.open(f"{len(images)}.png").tobytes())
    assert images[0] == images[1]


@pytest.mark.parametrize("name", ["esd.pt", "nude.bin", "sd-v1-4.ckpt"])
def test_a_pickle_is_refused_in_one_line(refused, workplace, pipeline, name):
    (workplace / name).write_bytes(b"x")
    assert "pickles can run code" in refused(*ask(pipeline, "--patch", name))
    assert "pickles can run code" in refused("sample", "--model", name, "--prompt", "a cat")


# ---- a judge and prompts of one's own ---------------------------------------------------------------------------


def save_judge(sees: str = "") -> None:
    """A classifier of three concepts with random weights, which sees `sees` in every image where it is given."""
    from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessor

    labels = {0: "cat", 1: "dog", 2: "church"}
    numbers = {name: number for number, name in labels.items()}
    torch.manual_seed(0)
    judge = ResNetForImageClassification(
        ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], id2label=labels, label2id=numbers)
    )
    if sees:
        torch.nn.init.constant_(judge.classifier[-1].bias[numbers[sees]], 1e3)
    judge.save_pretrained("judge")
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained("judge")


@pytest.mark.parametrize(("sees", "outcome", "steps"), [("dog", "forgotten", 2), ("cat", "not_forgotten", 4)])
def test_a_run_stops_once_the_judge_sees_the_concept_no_more(call, write_erasure, workplace, sees, outcome, steps):
    save_judge(sees)
    path = write_erasure(
        train=TRAIN | {"check_every": 2, "stop_recall": 0.0},
        evaluate={"images": 2, "steps": 2, "judge": "judge"},
    )
    done = call("run", path, "--out", "out", "--set", "request.force=true")
    assert done.code == 0, done.err
    record = read_record(workplace / "out")
    assert (record.outcome, record.cost["steps"]) == (outcome, steps)


def test_a_user_s_classifier_and_prompts_judge(call, write_erasure, workplace):
    save_judge()
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


def test_a_judge_needs_nothing_that_must_stay(call, write_erasure, workplace):
    save_judge()
    path = write_erasure(
        method={"name": "uce"}, request={"concepts": ["cat"]}, evaluate={"images": 2, "steps": 2, "judge": "judge"}
    )
    done = call("run", path, "--out", "out", "--set", "request.force=true")
    assert done.code == 0, done.err
    record = read_record(workplace / "out")
    assert record.find("ua", "unlearned", "cat").n == 2
    assert "no prompt asks" in record.find("ira", "unlearned", "cat").skipped


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
