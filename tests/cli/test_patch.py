"""``genunlearn patch``: what it writes, and what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from genunlearn.config import ParametersConfig
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.engine import parameters
from tests.cli.conftest import tree
from tests.tiny_models import build
from tests.tiny_pipelines import tiny

IDS = torch.arange(2, 12).unsqueeze(0)


@pytest.fixture
def patch(workplace: Path, model_folder: Path) -> Path:
    """A run's folder with a patch on the tiny model, and a second one."""
    for seed, name in enumerate(("run", "other"), start=1):
        model = LanguageModel.load(str(model_folder), device="cpu")
        parameters.attach(model, ParametersConfig(rank=2 * seed, alpha=4), seed=seed)
        torch.manual_seed(seed)
        for parameter in parameters.trainable(model.module).values():
            torch.nn.init.normal_(parameter.data, std=0.2)
        parameters.save_patch(model, workplace / name / "patch")
    return Path("run")


@torch.no_grad()
def logits(network: torch.nn.Module) -> torch.Tensor:
    return network.eval()(input_ids=IDS).logits


def patched(model_folder: Path, *patches: str) -> torch.Tensor:
    """What the model says under one patch after the other, by our own loading."""
    from genunlearn.engine.patches import put_on

    model = LanguageModel.load(str(model_folder), device="cpu")
    put_on(model, [Path(each) for each in patches])
    return logits(model.module)


def test_transformers_opens_what_apply_wrote_patched_and_detach_gives_the_base_back(
    call, workplace, model_folder, patch
) -> None:
    from transformers import AutoModelForCausalLM

    done = call("patch", "apply", patch, "--model", model_folder, "--out", "patched")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "written: patched",
        "genunlearn patch detach patched takes the patch off again",
    ]
    plain = AutoModelForCausalLM.from_pretrained(workplace / "patched")
    assert torch.allclose(logits(plain), patched(model_folder, "run/patch"), atol=1e-5)
    assert call("patch", "detach", "patched").code == 0
    assert tree(workplace / "patched") == tree(model_folder)


def test_merge_and_stack_do_what_the_patches_do(call, workplace, model_folder, patch) -> None:
    both = ("patch", "{}", "run", "other", "--model", str(model_folder), "--out")
    for command, out in (("merge", "merged"), ("stack", "stacked")):
        assert call(*(part.format(command) for part in both), out).code == 0
    wanted = patched(model_folder, "run/patch", "other/patch")
    merged = LanguageModel.load("merged", device="cpu")
    assert torch.allclose(logits(merged.module), wanted, rtol=1e-5, atol=1e-5)
    assert torch.allclose(patched(model_folder, "stacked"), wanted, rtol=1e-5, atol=1e-5)


def test_diff_says_ranks_and_norms(call, workplace, patch) -> None:
    done = call("patch", "diff", "run", "other")
    rows = [line for line in done.out.splitlines() if "q_proj" in line]
    assert done.code == 0 and len(rows) == 2 and "2 / 4" in rows[0]
    assert "norm of the difference over all 14 layers: " in done.out
    assert call("patch", "diff", "run", "run").out.endswith("over all 14 layers: 0\n")


def test_a_pipeline_is_merged_with_its_patch(call, workplace, monkeypatch) -> None:
    from genunlearn.domains.diffusion.adapter import Diffusion

    tiny("sd1").save_pretrained(workplace / "pipeline")
    model = Diffusion.load("pipeline")
    name, weight = next((n, p) for n, p in model.network.named_parameters() if n.endswith("attn2.to_k.weight"))
    with torch.no_grad():
        weight += 1
    model.export(workplace / "patch", "delta")
    assert call("patch", "merge", "patch", "--model", "pipeline", "--out", "merged").code == 0
    assert torch.allclose(Diffusion.load("merged").network.get_parameter(name), weight)
    complaint = call("patch", "apply", "patch", "--model", "pipeline", "--out", "new").err
    assert complaint.startswith("genunlearn: --model pipeline: patch apply is for language models; patch merge")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["merge", "nowhere", "--model", "{}", "--out", "new"], "no patch at nowhere: give a run's folder"),
        (["merge", "run", "--model", "./gone", "--out", "new"], "no model at './gone': give a folder"),
        (["merge", "run", "--model", "lab:digits", "--out", "new"], "lab 'digits' is for network, not for lm; lm has"),
        (["merge", "run", "--model", "other-base", "--out", "new"], "run/patch: made for base "),
        (["apply", "changed", "--model", "{}", "--out", "new"], "changed/patch: not as it was written: its hash is "),
        (["diff", "run", "changed"], "changed/patch: not as it was written: its hash is "),
        (["stack", "run", "--model", "{}", "--out", "new"], "one patch given: name at least two to stack"),
        (["merge", "run", "--model", "{}", "--out", "run"], "--out run exists; take another --out"),
        (["merge", "run", "--model", "{}", "--out", "forget.jsonl/x"], "--out forget.jsonl/x cannot be written: "),
        (["detach", "run"], "run: no model with a patch; give a folder that genunlearn patch apply has written"),
        (["detach", "{}"], "no patch at "),
    ],
)
def test_bad_input_is_one_line(refused, workplace, model_folder, patch, arguments, complaint) -> None:
    build("llama", workplace / "other-base", seed=5)
    shutil.copytree(workplace / "run", workplace / "changed")
    weights = workplace / "changed" / "patch" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert refused("patch", *(part.format(model_folder) for part in arguments)).startswith(complaint)


def test_detach_refuses_weights_that_have_changed(call, refused, workplace, model_folder, patch) -> None:
    assert call("patch", "apply", patch, "--model", model_folder, "--out", "patched").code == 0
    weights = workplace / "patched" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert "the patch was put on" in refused("patch", "detach", "patched")
