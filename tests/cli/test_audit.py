"""`genunlearn audit`: facts make it one of a language model, concepts one of a pipeline."""

from __future__ import annotations

import pytest

from genunlearn.config.diffusion import DiffusionAuditConfig
from genunlearn.config.lm import LMAuditConfig
from genunlearn.records import RunRecord
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
