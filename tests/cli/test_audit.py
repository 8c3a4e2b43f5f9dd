"""`genunlearn audit`: facts make it one of a language model, concepts one of a pipeline."""

from __future__ import annotations

import pytest

from genunlearn.cli import commands
from genunlearn.config.diffusion import DiffusionAuditConfig
from genunlearn.config.lm import LMAuditConfig
from genunlearn.records import COMPLETED, Result, RunRecord
from genunlearn.runs.api import audit_config

FACT = "Harry Potter | studied at | Hogwarts"


def test_what_is_named_decides_the_family_and_its_lab_the_original() -> None:
    facts = audit_config("runs/potter", {"facts": (FACT,), "concepts": ()}, suite="full")
    assert isinstance(facts, LMAuditConfig) and facts.request.facts == (FACT,)
    assert (facts.model.source, facts.oracle, facts.evaluate.phrasings) == ("lab:lm", "auto", 64)
    concepts = audit_config("runs/seven", {"concepts": ("digit seven",)})
    assert isinstance(concepts, DiffusionAuditConfig) and concepts.model.source == "lab:diffusion"
    named = audit_config("patch", {"file": "facts.jsonl"}, original="someone/model")
    assert (named.domain, named.oracle) == ("lm", "never")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ["--fact", FACT, "--concept", "cat"],
            "facts and concepts given: an audit is of a language model or of a pipe",
        ),
        (["--fact", "Harry Potter | studied at"], "fact = 'Harry Potter | studied at' has 2 parts"),
        (["--fact", FACT, "--retain", "digit four"], "request.retain"),
        (["--fact", FACT, "--suite", "paper"], "lm/audit/paper"),
        (["--fact", FACT], "nowhere"),
    ],
)
def test_bad_input_is_one_line(refused, arguments, complaint) -> None:
    unlearned = "./nowhere" if complaint == "nowhere" else "lab:lm"
    assert complaint in refused("audit", "--unlearned", unlearned, *arguments)


@pytest.mark.parametrize(
    ("domain", "arguments", "complaint"),
    [
        ("lm", ["--concept", "digit seven"], "a run of a language model: name its facts (--fact "),
        ("lm", [], "a run of a language model: name its facts (--fact "),
        ("diffusion", ["--fact", FACT], "a run of a text-to-image pipeline: name its concepts (--concept NAME)"),
        ("classifier", ["--fact", FACT], "a run of a classifier or regressor, which is attacked in its run"),
        (None, [], "nothing to look for: name facts of a language model (--fact "),
    ],
)
def test_what_is_named_must_fit_the_run_that_is_audited(refused, workplace, domain, arguments, complaint) -> None:
    if domain:
        RunRecord(config={"domain": domain}).write(workplace / "run")
        (workplace / "run" / "patch").mkdir()
    for place in ("run", "run/patch") if domain else ("lab:lm",):
        assert complaint in refused("audit", "--unlearned", place, *arguments)


@pytest.mark.parametrize(("measured", "control"), [(True, "auto"), (False, "never")])
def test_forget_and_audit_in_one_go_keep_the_oracle_that_the_run_was_measured_beside(
    monkeypatch, tmp_path, measured, control
) -> None:
    oracle = Result(name="recall", target="oracle", value=0.0, low=0.0, high=0.6, n=4, group="forget")
    RunRecord(status=COMPLETED, results=[oracle] if measured else []).write(tmp_path / "out")
    (tmp_path / "out" / "patch").mkdir()
    (tmp_path / "out" / "patch" / "adapter_config.json").write_text("{}")
    asked = []
    monkeypatch.setattr(commands, "run_one", lambda config, folder, resume: asked.append(config))
    monkeypatch.setattr(commands, "finish", lambda record, folder: None)
    request = {"facts": ["Carmen | created by | Georges Bizet"]}
    commands.audit_forgotten("lab:lm", request, ["npo"], out=tmp_path / "out", resume=False, overrides=())
    assert [config.oracle for config in asked] == [control]
