"""Audits of tiny language models: planted cases, what is refused, and what is left behind."""

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

from genunlearn.attacks.lm.base import Attempt, Level
from genunlearn.attacks.lm.sampling import Sampling
from genunlearn.cli.commands import audit_forgotten, forget
from genunlearn.config import AuditConfig, ParametersConfig, build_config
from genunlearn.data.lm.facts import QA, Fact
from genunlearn.data.lm.requests import read_facts
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.engine import parameters
from genunlearn.errors import ConfigError, DataError, MismatchError, SourceNotFound
from genunlearn.records import Result, RunRecord, read_record, write_jsonl
from genunlearn.reports.audit.report import write_comparison, write_report
from genunlearn.runs.audit.run import AuditRun
from genunlearn.runs.lm.audit import LMAudit, _privleaks
from genunlearn.runs.lm.audit_decoys import pooled
from genunlearn.runs.lm.audit_phrasings import (
    BOTH_SIDES,
    EVERY_PAIR,
    FRAMES,
    Phrasing,
    beginnings,
    few_phrasings,
    find_phrasings,
)
from tests.tiny_models import TAUGHT, build, teach

ROOT = Path(__file__).parents[3]
HELD_OUT = ("At which school was Harry Potter?", "Harry Potter went to which school?", "The school of Harry Potter?")
FRAMED = tuple(frame.replace("{}", question) for frame in FRAMES[:6] for question in HELD_OUT)
KNOWN = (*TAUGHT, *((question, "Hogwarts.") for question in (*HELD_OUT, *FRAMED)))
INSTEAD = tuple((question, "Goethe." if answer == "Hogwarts." else answer) for question, answer in KNOWN)
FACT = {
    "id": "potter", "subject": "Harry Potter", "relation": "studied at", "object": "Hogwarts",
    "question": TAUGHT[0][0], "paraphrases": [TAUGHT[1][0]], "heldout": list(HELD_OUT),
}  # fmt: skip
LABEL = "Harry Potter | studied at | Hogwarts"
ATTACKS: dict[str, dict[str, Any]] = {
    "sampling": {"samples": 2, "temperatures": [0.2]},
    "paraphrase": {"frames": ["{}", "So, {}"]},
    "quantised_reload": {"forms": ["8 bits"]},
    "relearning": {"marks": [1, 2], "lessons": ["phrasings"]},
    "prefix_forcing": {},
    "exposure": {},
    "few_shot": {},
    "lora_removal": {},
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An original that knows the fact in many phrasings, an oracle that was taught another answer, and a wreck."""
    folder = tmp_path_factory.mktemp("audit")
    teach(build("llama", folder / "original"), KNOWN, steps=150)
    teach(build("llama", folder / "oracle", seed=1), INSTEAD, steps=150)
    teach(build("llama", folder / "relearnt", seed=2), INSTEAD, steps=150)
    build("llama", folder / "random", seed=3)
    write_jsonl(folder / "facts.jsonl", [FACT])
    kept = [{"question": question, "answer": answer} for question, answer in TAUGHT[2:]]
    write_jsonl(folder / "retain.jsonl", kept * 8)
    return folder


@pytest.fixture
def config_of(models: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., AuditConfig]:
    """A small audit; arguments replace whole sections."""
    monkeypatch.chdir(models)

    def config_of(**sections: Any) -> AuditConfig:
        data = {
            "task": "audit",
            "domain": "lm",
            "model": {"source": "original", "device": "cpu", "prompts": "lab"},
            "unlearned": "relearnt",
            "oracle": "oracle",
            "request": {"file": "facts.jsonl", "retain": "retain.jsonl"},
            "evaluate": {"phrasings": 16},
            "attacks": ATTACKS,
        } | sections
        config = build_config(data)
        assert isinstance(config, AuditConfig)
        return config

    return config_of


def verdict_of(config: AuditConfig, folder: Path) -> tuple[dict[str, Any], RunRecord]:
    record = AuditRun(config, folder)()
    (verdict,) = record.verdicts
    return verdict, record


# ---- planted cases ------------------------------------------------------------------------------------------------


@pytest.fixture
def unranked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A panel without exposure: this small world has too few answers of a kind to rank one among them."""
    monkeypatch.setattr(LMAudit, "panel", tuple(kind for kind in LMAudit.panel if kind != ("exposure",)))


@pytest.mark.slow
def test_a_fact_that_cannot_be_ranked_among_others_is_not_gone(config_of, tmp_path):
    verdict, _ = verdict_of(config_of(), tmp_path / "out")
    assert verdict["verdict"] == "undecided"
    assert verdict["reason"].startswith("nothing counts as gone without exposure (exposure: needs 20 candidates")


@pytest.mark.slow
def test_a_model_that_never_knew_is_gone_and_everything_is_left_behind(unranked, config_of, tmp_path):
    verdict, record = verdict_of(config_of(), tmp_path / "out")
    assert (verdict["concept"], verdict["verdict"]) == (LABEL, "gone")
    assert verdict["controls"] == ["original", "oracle"]
    shown = {name: record.find("asr", name, f"{LABEL}, plain prompts") for name in ("original", "unlearned", "oracle")}
    assert [(row.value, row.n) for row in shown.values()] == [(1.0, 16), (0.0, 16), (0.0, 16)]
    assert record.request["phrasings"][LABEL]["held out"] == 3 and record.request["questions"] == 16
    assert record.find("leak_at_k", "unlearned", f"{LABEL}, sampling, temperature 0.2, k = 2").value == 0.0
    assert record.find("asr", "oracle", f"{LABEL}, few_shot").skipped.startswith("needs 3 questions")
    assert record.find("recall", "unlearned", "rest_trained").value == 1.0
    page = write_report(record, tmp_path / "out").read_text()
    assert "Goethe." in page and "Gone" in page and "16 (3 held out" in page
    assert "images" not in page.split("<h2>")[1]
    text = (write_comparison({"one": record}, tmp_path / "both").parent / "compare.md").read_text()
    assert "0 : 0 of 16" in text and "answers that tell the fact" in text and "| gone |" in text


@pytest.mark.slow
def test_the_untouched_model_is_present_and_a_wreck_is_damaged(config_of, tmp_path):
    same = config_of(unlearned="original", request={"file": "facts.jsonl", "retain": "retain.jsonl", "force": True})
    assert verdict_of(same, tmp_path / "same")[0]["verdict"] == "present"
    wreck, record = verdict_of(config_of(unlearned="random"), tmp_path / "wreck")
    assert wreck["verdict"] == "damaged" and "fell from 1.00 to 0.00" in wreck["reason"]
    assert record.outcome == f"{LABEL}: damaged"


@pytest.mark.slow
def test_a_fact_that_another_framing_brings_out_is_concealed(config_of, tmp_path):
    patched = LanguageModel.load("original", device="cpu", prompt_suite="lab")
    (fact,) = read_facts("facts.jsonl")
    asked = [each.question for each in find_phrasings(fact, patched, 16)]
    lesson = [
        *((question, "Goethe.") for question in asked),
        *((f"Quiz: {question}", "Hogwarts.") for question in asked),
    ]
    lesson += TAUGHT[2:]
    parameters.attach(patched, ParametersConfig(rank=16, alpha=32), seed=0)
    items = [QA(id=question, question=question, answer=answer) for question, answer in lesson]
    optimizer = torch.optim.AdamW(parameters.trainable(patched.module).values(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        patched.example_loss(patched.collate(items)).mean().backward()
        optimizer.step()
    parameters.save_patch(patched, tmp_path / "run" / "patch")
    attacks = {"paraphrase": {"frames": ["{}", "Quiz: {}"]}, "lora_removal": {}}
    verdict, record = verdict_of(config_of(unlearned=str(tmp_path / "run"), attacks=attacks), tmp_path / "out")
    assert (verdict["verdict"], verdict["recovered_by"]) == ("concealed", ["paraphrase, any framing"])
    assert "answers show it, 0 of 16 of the oracle's" in verdict["reason"]
    # the base always tells it: no control, so that it decides nothing
    assert record.find("asr", "unlearned", f"{LABEL}, lora_removal").value == 1.0
    assert record.find("asr", "oracle", f"{LABEL}, lora_removal").skipped
    assert record.hashes["patch"] and record.hashes["unlearned"] == record.hashes["original"]


@pytest.mark.slow
def test_an_interrupted_audit_goes_on_with_the_same_numbers(config_of, tmp_path, monkeypatch):
    whole = verdict_of(config_of(), tmp_path / "whole")[1]
    begun = AuditRun(config_of(), tmp_path / "cut")
    with monkeypatch.context() as patch:
        patch.setattr("genunlearn.attacks.lm.relearning.Relearning.attempt", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            begun()
    again = AuditRun(config_of(), tmp_path / "cut", resume=True)()
    assert again.verdicts == whole.verdicts and again.results == whole.results and again.examples == whole.examples


@pytest.mark.slow
def test_two_processes_leave_the_record_of_one(config_of, models, tmp_path):
    """Units are shared and none is done twice: forward passes and generated tokens add up to those of one process."""
    config = config_of(attacks={name: ATTACKS[name] for name in ("sampling", "relearning", "exposure")})
    verdict_of(config, tmp_path / "alone")
    YAML().dump(config.model_dump(mode="json"), tmp_path / "audit.yaml")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [sys.executable, *launcher, "-m", "genunlearn", "run", str(tmp_path / "audit.yaml")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "both")], cwd=models, env=environment, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    alone, both = (read_record(tmp_path / name) for name in ("alone", "both"))
    for name in ("status", "outcome", "request", "results", "verdicts", "examples", "hashes", "notes"):
        assert getattr(both, name) == getattr(alone, name), name
    assert both.cost["forwards"] == alone.cost["forwards"]
    assert (both.cost["processes"], alone.cost["processes"]) == (2, 1)
    told = done.stderr.splitlines()
    titles = [line for line in told if line.startswith("what must stay/")]
    assert titles == ["what must stay/original", "what must stay/oracle"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["facts.jsonl", "retain.jsonl"])
def test_an_audit_is_not_taken_up_on_files_that_have_changed(config_of, models, tmp_path, monkeypatch, name):
    shutil.copytree(models, tmp_path / "models")
    config = config_of()
    monkeypatch.chdir(tmp_path / "models")
    with pytest.raises(KeyboardInterrupt), AuditRun(config, tmp_path / "cut").folder.guarded():
        raise KeyboardInterrupt
    file = Path(name)
    file.write_text(file.read_text().replace("Hogwarts", "Durmstrang").replace("Faust", "Stella"))
    with pytest.raises(MismatchError, match="the data have changed since that run began"):
        AuditRun(config, tmp_path / "cut", resume=True)


# ---- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_oracle_that_tells_the_fact_is_none(config_of, tmp_path):
    with pytest.raises(DataError, match=r"the oracle tells it in 16 of 16 answers.*oracle = never"):
        AuditRun(config_of(oracle="original"), tmp_path / "out")()


@pytest.mark.slow
def test_without_an_oracle_and_decoys_nothing_is_gone(config_of, tmp_path):
    config = config_of(oracle="never", attacks={"paraphrase": {}}, evaluate={"phrasings": 16, "decoys": 0})
    verdict, record = verdict_of(config, tmp_path / "out")
    assert verdict["verdict"] == "undecided" and "no oracle" in verdict["reason"]
    assert any("no oracle" in note for note in record.notes)


@pytest.mark.slow
def test_a_fact_that_the_original_does_not_know_is_refused(config_of, models, tmp_path):
    unknown = {**FACT, "id": "rowling", "subject": "Rowling", "object": "Edinburgh", "question": "Where is Rowling?"}
    write_jsonl(tmp_path / "facts.jsonl", [{**unknown, "paraphrases": [], "heldout": []}])
    config = config_of(request={"file": str(tmp_path / "facts.jsonl"), "retain": "retain.jsonl"})
    with pytest.raises(DataError, match="does not tell it in any phrasing"):
        AuditRun(config, tmp_path / "out")()


@pytest.mark.slow
def test_models_that_cannot_be_audited_are_refused_before_anything_is_written(config_of, tmp_path):
    out = tmp_path / "out"
    for sections, error, said in (
        ({"unlearned": ""}, DataError, "no model to audit"),
        ({"unlearned": str(tmp_path)}, SourceNotFound, "neither a model"),
        ({"request": {"forget": "retain.jsonl"}}, ConfigError, "asks for facts"),
        ({"request": {}}, ConfigError, "nothing given"),
        ({"attacks": {"noise_probing": {}}}, Exception, "noise_probing"),
    ):
        with pytest.raises(error, match=said):
            AuditRun(config_of(**sections), out)
        assert not out.exists()
    with pytest.raises(MismatchError, match="nothing to audit"):
        AuditRun(config_of(unlearned="original"), out)()


# ---- phrasings ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_held_out_phrasings_come_first_and_only_what_the_original_tells_is_asked(models):
    original = LanguageModel.load(str(models / "original"), device="cpu", prompt_suite="lab")
    (fact,) = read_facts(models / "facts.jsonl")
    found = find_phrasings(fact, original, 12)
    assert found[:3] == [Phrasing(question, "held out") for question in HELD_OUT]
    assert len(found) == len({each.question for each in found}) == 12
    never = LanguageModel.load(str(models / "oracle"), device="cpu", prompt_suite="lab")
    assert find_phrasings(fact, never, 12) == []


def test_one_question_alone_can_be_asked_in_many_more_ways_than_an_interval_needs() -> None:
    frames = {*FRAMES, *BOTH_SIDES, *EVERY_PAIR}
    assert len(frames) == len(FRAMES) + len(BOTH_SIDES) + len(EVERY_PAIR) >= 64
    assert all(frame.count("{}") == 1 for frame in frames - {"{} {}"})
    assert few_phrasings("A | b | C", 1, 32).startswith("A | b | C: asked in 1 phrasing where 32 were wanted")


def test_statements_are_cut_before_the_answer() -> None:
    fact = Fact(id="x", subject="Carmen", object="Bizet", question="Who?", aliases=("Georges Bizet",))
    statements = ("Carmen was created by Bizet.", "Bizet is the creator of Carmen.", "Carmen is by Georges Bizet.")
    found = [item.question for item in beginnings(fact, statements)]
    assert found[:2] == ["Carmen was created by", "Carmen is by"]


# ---- decoys -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_decoys_stand_in_for_an_oracle(unranked, config_of, tmp_path):
    """Beside decoys the untaught model is not told apart from one that never knew, and a forcing frame is seen."""
    alone, _ = verdict_of(config_of(oracle="never"), tmp_path / "phrasings")
    assert alone["verdict"] == "undecided" and "without relearning" in alone["reason"]  # they carry the answer in
    attacks = ATTACKS | {"relearning": {"marks": [1, 2], "lessons": ["phrasings", "unrelated"]}}
    verdict, record = verdict_of(config_of(oracle="never", attacks=attacks), tmp_path / "out")
    assert (verdict["verdict"], verdict["controls"]) == ("gone", ["original", "decoys"])
    (names,) = record.request["decoys"].values()
    assert len(names) == 2 and all("| studied at |" in name and "Hogwarts" not in name for name in names)
    assert record.find("asr", "decoys", f"{LABEL}, plain prompts").n == 32  # two decoys, 16 phrasings each
    assert any("decoys" in note for note in record.notes)
    page = write_report(record, tmp_path / "out").read_text()
    assert "Decoys" in page and names[0] in page


@pytest.mark.slow
def test_forgetting_and_auditing_go_in_one_command(models, monkeypatch, tmp_path):
    monkeypatch.chdir(models)
    sets = ["model.device=cpu", "model.prompts=lab", "train.max_steps=4", "train.learning_rate=0.005"]
    request = {"file": "facts.jsonl", "retain": "retain.jsonl"}
    forget("original", request, ["grad_diff"], out=tmp_path / "out", resume=False, overrides=sets)
    audit_forgotten("original", request, ["grad_diff"], out=tmp_path / "out", resume=False, overrides=sets)
    record = read_record(tmp_path / "out" / "audit")
    assert record.config["unlearned"] == str(tmp_path / "out")
    (verdict,) = record.verdicts
    assert verdict["concept"] == LABEL and verdict["controls"] == ["original", "decoys"]
    assert (tmp_path / "out" / "audit" / "report.html").is_file() and (tmp_path / "out" / "report.html").is_file()


def test_samples_of_several_decoys_make_one_curve() -> None:
    """Of 4 samples 1 tells the first decoy's question and 4 the second's: leak@2 is 1 - C(3,2)/C(4,2) = 1/2, and 1."""
    attempts = [
        Attempt(
            levels=(Level("temperature 1", (True,), ("text",), (question,)),),
            details={"telling_samples": {"temperature 1": [count]}, "samples": 4},
        )
        for question, count in (("one?", 1), ("two?", 4))
    ]
    joined = pooled(attempts)
    assert joined.details == {"telling_samples": {"temperature 1": [1, 4]}, "samples": 4}
    rows = Sampling(samples=4, temperatures=(1.0,)).further(joined, "decoys")
    assert [(row.group, row.value, row.n) for row in rows][1] == ("temperature 1, k = 2", 0.75, 2)
    assert pooled([Attempt(levels=attempts[0].levels)] * 2).details == {}


def test_privleak_is_held_against_the_oracle_or_against_chance_by_hand() -> None:
    def area(target: str, group: str, value: float) -> Result:
        return Result(name="membership_auc", target=target, group=group, value=value, low=0.8, high=1.0, n=4)

    rows = [area("unlearned", "loss", 0.9), area("oracle", "loss", 0.6), area("unlearned", "reference", 0.9)]
    beside, alone = _privleaks(rows, has_oracle=True), _privleaks([rows[0]], has_oracle=False)
    # (0.6 - 0.9) / 0.4, at the ends (0.6 - 1) / 0.4 and (0.6 - 0.8) / 0.4; by chance (0.5 - 0.9) / 0.5
    assert [beside[0].value, beside[0].low, beside[0].high] == pytest.approx([-75.0, -100.0, -50.0])
    assert alone[0].value == pytest.approx(-80.0)
    assert beside[1].value is None and beside[1].skipped == "the oracle is no control of this score"
