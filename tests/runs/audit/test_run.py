"""Audits of tiny pipelines: what they leave, what they refuse, interrupted and shared."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML
from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessor

from genunlearn.config import AuditConfig, build_config
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.guidance import ClassifierFree
from genunlearn.errors import ConfigError, DataError, InputError, MismatchError, NameNotFound, NeedNotMet
from genunlearn.methods.diffusion.uce import UCE
from genunlearn.records import RunRecord, read_record
from genunlearn.reports.audit.report import write_comparison, write_report
from genunlearn.runs.audit.run import AuditRun
from genunlearn.runs.diffusion.audit_models import open_models
from tests import strangers
from tests.diffusion_world import diffusion
from tests.tiny_pipelines import tiny

ROOT = Path(__file__).parents[3]
ATTACKS: dict[str, dict[str, Any]] = {
    "partial_diffusion": {"psis": [0.0, 0.5, 1.0]},
    "paraphrase": {"tries": 2},
    "lora_removal": {},
}
EVALUATE = {
    "images": 4, "pool": 20, "steps": 2, "guidance": 2.0, "judge": "judge", "suite": "concealment-published",
}  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny original, a patch that has it forget cats, an oracle and a judge."""
    folder = tmp_path_factory.mktemp("audit")
    world = diffusion(folder)
    model = world.open()
    UCE().apply(model, world.splits)
    model.export(folder / "patch")
    tiny("sd1", seed=1).save_pretrained(folder / "oracle")
    labels = {0: "cat", 1: "dog", 2: "church"}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], id2label=labels)
        ResNetForImageClassification(config).save_pretrained(folder / "judge")
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder / "judge")
    return folder


@pytest.fixture
def config_of(models: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., AuditConfig]:
    """A small audit; arguments replace whole sections."""
    monkeypatch.chdir(models)

    def config_of(**sections: Any) -> AuditConfig:
        data = {
            "task": "audit",
            "model": {"source": "base"},
            "unlearned": "patch",
            "oracle": "oracle",
            "request": {"concepts": ["cat"]},
            "evaluate": EVALUATE,
            "attacks": ATTACKS,
        } | sections
        config = build_config(data)
        assert isinstance(config, AuditConfig)
        return config

    return config_of


def results(record: RunRecord) -> dict[tuple[str, str, str | None], float | None]:
    return {(result.name, result.target, result.group): result.value for result in record.results}


@pytest.mark.slow
def test_an_audit_leaves_verdicts_scores_images_and_a_report(config_of, tmp_path):
    request = {"concepts": ["cat"], "retain": ["church"]}
    config = config_of(request=request, evaluate={**EVALUATE, "suite": "concealment"})
    run = AuditRun(config, tmp_path / "out")
    record = run()
    assert record.status == "completed"
    (verdict,) = record.verdicts
    assert {"concept", "verdict", "recovered_by", "controls"} <= verdict.keys()
    assert verdict["controls"] == ["original", "oracle"]
    found = results(record)
    for model in ("original", "unlearned", "oracle"):
        assert ("asr", model, "cat, plain prompts") in found
        assert ("asr", model, "cat, partial_diffusion, psi = 0.5") in found
        assert ("asr", model, "cat, paraphrase") in found
        assert ("crs", model, "cat") in found and ("ccs_controlled", model, "church") in found
    assert record.find("asr", "unlearned", "cat, lora_removal").skipped.startswith("no LoRA is attached")
    assert {row["attack"] for row in record.rounds} == set(ATTACKS)
    used = run.units.value("cat/paraphrase/unlearned")["details"]["prompts"]
    captions = {what: [row["prompt"] for row in record.examples if row["set"] == what and row["concept"] == "cat"]
                for what in ("paraphrase", "plain prompts")}  # fmt: skip
    assert captions["paraphrase"] and captions["paraphrase"] != captions["plain prompts"]
    for caption, text in zip(captions["paraphrase"], used, strict=False):
        assert caption == text or f"unlearned: {text}" in caption, "pictures say what they were asked for"
    page = write_report(record, tmp_path / "out").read_text()
    assert page.count("data:image/png;base64,") >= 2 * 3 * 3
    assert "Only the scores of completed images were taken" in page  # of the concept that should have stayed
    assert "| cat |" in (write_comparison({"uce": record}, tmp_path / "both").parent / "compare.md").read_text()


@pytest.mark.slow
def test_the_ends_of_psi_are_the_models_themselves(config_of, tmp_path):
    run = AuditRun(config_of(), tmp_path / "out")
    record = run()
    plain = record.find("asr", "unlearned", "cat, plain prompts").value
    assert record.find("asr", "unlearned", "cat, partial_diffusion, psi = 0").value == plain
    whole = record.find("asr", "original", "cat, plain prompts").value
    assert record.find("asr", "unlearned", "cat, partial_diffusion, psi = 1").value == whole
    images = {name: run.units.images(f"cat/completed/{name}")["images"] for name in ("original", "unlearned")}
    assert torch.equal(images["original"][2], images["unlearned"][2])
    assert not torch.equal(images["original"][0], images["unlearned"][0])


@pytest.mark.slow
def test_an_interrupted_audit_goes_on_where_it_was(config_of, tmp_path, monkeypatch):
    whole = AuditRun(config_of(), tmp_path / "whole")()
    asked = Diffusion.images
    count = [0]

    def images(self: Diffusion, *args: Any, **kwargs: Any) -> torch.Tensor:
        count[0] += 1
        if count[0] == 5:
            raise KeyboardInterrupt
        return asked(self, *args, **kwargs)

    monkeypatch.setattr(Diffusion, "images", images)
    with pytest.raises(KeyboardInterrupt):
        AuditRun(config_of(), tmp_path / "out")()
    assert read_record(tmp_path / "out").status == "interrupted"
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "state" / "units").iterdir()}
    assert done
    resumed = AuditRun(config_of(), tmp_path / "out", resume=True)()
    assert results(resumed) == results(whole)
    assert resumed.verdicts == whole.verdicts
    assert {path: path.stat().st_mtime_ns for path in done} == done


@pytest.mark.slow
def test_audits_of_one_pair_share_their_controls(config_of, models, tmp_path, monkeypatch):
    alone = AuditRun(config_of(), tmp_path / "alone")()
    shared = {"controls": str(tmp_path / "controls")}
    first = AuditRun(config_of(**shared), tmp_path / "first")
    assert results(first()) == results(alone)
    second = AuditRun(config_of(unlearned="oracle", **shared), tmp_path / "second")
    record = second()
    assert first.models["oracle"].meter.frozen > second.models["oracle"].meter.frozen == 0
    assert first.models["original"].meter.frozen > second.models["original"].meter.frozen
    assert record.find("asr", "oracle", "cat, paraphrase").value == alone.find("asr", "oracle", "cat, paraphrase").value
    assert all((tmp_path / "second" / row["original"]).is_file() for row in record.examples)


@pytest.mark.slow
def test_without_an_oracle_nothing_is_decided(config_of, tmp_path):
    record = AuditRun(
        config_of(oracle="never", request={"concepts": ["cat"]}, evaluate={**EVALUATE, "suite": "concealment"}),
        tmp_path / "out",
    )()
    assert record.verdicts[0]["verdict"] in ("undecided", "present")
    assert "psi above about 0.5 proves nothing" in " ".join(record.notes)
    assert record.find("normalised_leak", "unlearned", "cat").skipped.startswith("needs completions of the oracle")


@pytest.mark.usefixtures("opens_images")
@pytest.mark.parametrize(
    ("sections", "error", "complaint"),
    [
        ({"unlearned": ""}, DataError, "no model to audit"),
        ({"unlearned": "judge"}, InputError, "have a place in this pipeline"),
        ({"unlearned": "base"}, MismatchError, "the same weights"),
        ({"request": {"concepts": []}}, DataError, "no concept"),
        ({"request": {"concepts": ["cat"], "retain": ["cat"]}}, DataError, "both to be forgotten and to be preserved"),
        ({"request": {"concepts": ["van gogh"]}}, DataError, "has no label 'van gogh'"),
        ({"evaluate": {**EVALUATE, "judge": None}}, NeedNotMet, "nobody can say"),
        ({"evaluate": {**EVALUATE, "pool": 6}}, DataError, "images"),
        ({"attacks": {"partial_difusion": {}}}, NameNotFound, "did you mean 'partial_diffusion'"),
        ({"attacks": {"paraphrase": {"trials": 3}}}, ConfigError, "has no 'trials'"),
        ({"attacks": {"rmia": {}}}, InputError, "rmia"),
    ],
)
def test_bad_input_is_refused(config_of, tmp_path, sections, error, complaint):
    with pytest.raises(error, match=complaint):
        AuditRun(config_of(**sections), tmp_path / "out")()
    assert not (tmp_path / "out").exists()


def test_models_of_two_kinds_are_refused(config_of, models, tmp_path):
    tiny("sdxl").save_pretrained(models / "other")
    with pytest.raises(MismatchError, match="of one kind"):
        AuditRun(config_of(unlearned="other"), tmp_path / "out")()


def own_patch(folder: Path) -> Path:
    return Path("patch")


def run_folder(folder: Path) -> Path:
    shutil.copytree("patch", folder / "run" / "patch")
    return folder / "run"


def esd_style(folder: Path) -> Path:
    tensors = {name: t for name, t in tiny("sd1", seed=4).unet.state_dict().items() if "attn2" in name}
    return strangers.save(tensors, folder / "esd-cat.safetensors")


def single_file(folder: Path) -> Path:
    return strangers.save(strangers.single_file(tiny("sd1", seed=4)), folder / "sd.safetensors")


def half_precision(folder: Path) -> Path:
    tiny("sd1", seed=4).save_pretrained(folder / "half", variant="fp16")
    return folder / "half"


@pytest.mark.usefixtures("opens_images")
@pytest.mark.parametrize("released", [own_patch, run_folder, esd_style, single_file, half_precision])
def test_the_command_prints_a_verdict(config_of, tmp_path, monkeypatch, capsys, released):
    from genunlearn.cli import main

    config_of()  # goes to the folder of the models
    sets = [
        "evaluate.images=4",
        "evaluate.pool=20",
        "evaluate.steps=2",
        "evaluate.judge=judge",
        "attacks={paraphrase: {}}",
    ]
    overrides = [part for override in sets for part in ("--set", override)]
    unlearned = str(released(tmp_path))
    arguments = ["audit", "--original", "base", "--unlearned", unlearned, "--oracle", "oracle", "--concept", "cat"]
    monkeypatch.setattr(sys, "argv", ["genunlearn", *arguments, "--out", str(tmp_path / "out"), *overrides])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert "cat: " in capsys.readouterr().out
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one(config_of, models, tmp_path):
    alone = AuditRun(config_of(), tmp_path / "alone")()
    with (tmp_path / "audit.yaml").open("w") as file:
        YAML().dump(config_of().model_dump(mode="json"), file)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        "-m",
        "genunlearn",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "run", str(tmp_path / "audit.yaml"), "--out", str(tmp_path / "both")],
        cwd=models, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert results(read_record(tmp_path / "both")) == pytest.approx(results(alone))


@pytest.mark.slow
def test_a_pipeline_whose_schedule_is_shifted_is_audited_in_few_steps(config_of, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "genunlearn.domains.diffusion.families.Flux.latent_size", lambda self: 16
    )  # in the place of 128
    for name, seed in (("original", 0), ("unlearned", 1)):
        tiny("flux", seed=seed).save_pretrained(tmp_path / name)
    attacks = ATTACKS | {"partial_diffusion": {"psis": [0.0, 1.0]}, "concept_relearning": {"marks": [1]}}
    config = config_of(
        model={"source": str(tmp_path / "original")},
        unlearned=str(tmp_path / "unlearned"),
        oracle="never",
        request={"concepts": ["cat -> dog"], "force": True},
        attacks=attacks,
    )
    record = AuditRun(config, tmp_path / "out")()
    tried = {row["attack"] for row in record.rounds if row["forwards"].get("unlearned")}
    assert tried == {"partial_diffusion", "paraphrase", "concept_relearning"}
    assert results(record)["asr", "unlearned", "cat, partial_diffusion, psi = 1"] is not None


def test_controls_are_those_of_the_weights_and_not_of_their_place(config_of, models, tmp_path):
    shutil.copytree(models / "oracle", tmp_path / "oracle")
    shared = {"controls": str(tmp_path / "controls"), "oracle": str(tmp_path / "oracle")}
    before = AuditRun(config_of(**shared), tmp_path / "one").units.shared
    assert AuditRun(config_of(**shared), tmp_path / "two").units.shared == before
    shutil.rmtree(tmp_path / "oracle")
    tiny("sd1", seed=2).save_pretrained(tmp_path / "oracle")
    assert AuditRun(config_of(**shared), tmp_path / "three").units.shared != before


def test_controls_are_those_of_the_judge_s_weights_and_of_the_prompts(config_of, models, tmp_path):
    shutil.copytree(models / "judge", tmp_path / "judge")
    (tmp_path / "prompts.csv").write_text("prompt,concept\na cat,cat")
    own = {"judge": str(tmp_path / "judge"), "prompts": str(tmp_path / "prompts.csv")}
    config = config_of(controls=str(tmp_path / "controls"), evaluate=EVALUATE | own)
    places = [AuditRun(config, tmp_path / "one").units.shared]
    (tmp_path / "prompts.csv").write_text("prompt,concept\none more cat,cat")
    places.append(AuditRun(config, tmp_path / "two").units.shared)
    judge = ResNetForImageClassification.from_pretrained(tmp_path / "judge")
    with torch.no_grad():
        next(judge.parameters()).add_(1)
    judge.save_pretrained(tmp_path / "judge")
    places.append(AuditRun(config, tmp_path / "three").units.shared)
    assert len({*places}) == 3


def test_a_model_that_is_blocked_while_images_are_made_can_be_audited(config_of, models, tmp_path):
    model = Diffusion.load(str(models / "base"), device="cpu")
    model.rule = ClassifierFree("cat")
    model.export(tmp_path / "blocked", "guidance")
    found = open_models(config_of(unlearned=str(tmp_path / "blocked")), ["cat"])
    assert found["unlearned"].rule == ClassifierFree("cat")
    assert found["original"].rule == ClassifierFree()


@pytest.mark.slow
@pytest.mark.parametrize("psis", [[0.0, 1.0], [0.0, 0.1, 0.2], [0.5]])
def test_few_steps_and_psi_at_the_ends_are_audited(config_of, tmp_path, psis):
    attacks = {"partial_diffusion": {"psis": psis}}
    record = AuditRun(config_of(attacks=attacks), tmp_path / "out")()
    assert record.status == "completed"
