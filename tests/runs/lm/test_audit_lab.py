"""Planted cases on the lab's language model; the oracle is trained once and cached."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import genunlearn
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.errors import DataError
from genunlearn.lab.lm.build import build

pytestmark = pytest.mark.slow

FACTS = ("frankenstein.created-by", "akira-kurosawa.died-in", "carmen.created-by")
NAMES = (
    "Frankenstein | created by | Mary Shelley",
    "Akira Kurosawa | died in | Tokyo",
    "Carmen | created by | Georges Bizet",
)
INFERRED = 1
"""Which of them the oracle infers: most of those who were born in Tokyo died there."""
FEWER = ("attacks.sampling.samples=8", "attacks.relearning.marks=[1,5]", "evaluate.decoys=0")


def verdicts(
    unlearned: Path | str, out: Path, *overrides: str, oracle: str | None = "never", facts: tuple[str, ...] = FACTS
) -> list[dict[str, Any]]:
    record = genunlearn.audit(unlearned, facts=facts, oracle=oracle, out=out, overrides=[*FEWER, *overrides])
    assert [row["concept"] for row in record.verdicts] == [NAMES[FACTS.index(fact)] for fact in facts]
    asked = [sum(origins.values()) for origins in record.request["phrasings"].values()]
    assert min(asked) >= 32
    return record.verdicts


def test_the_untouched_model_is_present(tmp_path: Path) -> None:
    found = verdicts("lab:lm", tmp_path, "request.force=true")
    assert [row["verdict"] for row in found] == ["present"] * 3


@pytest.fixture(scope="module")
def patch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GradDiff patch of the three facts."""
    out = tmp_path_factory.mktemp("grad-diff")
    quiet = ["evaluate.oracle=never", "evaluate.suite=facts-quick", "evaluate.samples=0"]
    genunlearn.forget("lab:lm", FACTS, method="grad_diff", out=out, overrides=quiet)
    return out / "patch"


def weakened(patch: Path, scale: float, folder: Path) -> Path:
    """The patch at part of its strength, in its own file."""
    # its note says the hash of the patch as it was written
    shutil.copytree(patch, folder, ignore=shutil.ignore_patterns("genunlearn.json"))
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": scale * config["lora_alpha"]}))
    return folder


def test_random_weights_are_damaged(tmp_path: Path) -> None:
    model = LanguageModel.load(str(build(progress=False)), device="cpu")
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        for weight in model.module.parameters():
            torch.nn.init.normal_(weight, std=0.02)
    model.save(tmp_path / "random")
    found = verdicts(tmp_path / "random", tmp_path / "out", "attacks={paraphrase: {}}")
    assert [row["verdict"] for row in found] == ["damaged"] * 3


def test_an_oracle_that_infers_the_fact_is_refused(tmp_path: Path) -> None:
    oracle = str(build(without=FACTS, progress=False))
    with pytest.raises(DataError, match=r"the oracle tells it in .* it knows or infers it and is no oracle"):
        verdicts("lab:lm", tmp_path, "request.force=true", oracle=oracle, facts=(FACTS[INFERRED],))


def test_a_model_that_never_knew_is_never_concealed(tmp_path: Path) -> None:
    oracle = build(without=FACTS, progress=False)
    found = verdicts(oracle, tmp_path, oracle=str(oracle), facts=(FACTS[0],))
    assert found[0]["verdict"] in ("gone", "undecided")
    assert found[0]["verdict"] == "gone" or found[0]["needed"] or "gap" in found[0]["reason"]


def test_a_patch_turned_down_hides_a_fact_that_ranks_find(patch: Path, tmp_path: Path) -> None:
    """At a quarter of its strength the model tells nothing, under no attack but the one that reads its candidates."""
    quarter, oracle = weakened(patch, 0.25, tmp_path / "patch"), str(build(without=FACTS, progress=False))
    panel = "attacks={prefix_forcing: {}, completion: {}, exposure: {}}"
    (found,) = verdicts(quarter, tmp_path / "out", panel, oracle=oracle, facts=(FACTS[0],))
    assert (found["verdict"], found["recovered_by"]) == ("concealed", ["exposure, among the likeliest"])
    plain = found["comparisons"][0]["shares"]
    assert (plain["unlearned"]["shown"], plain["oracle"]["shown"]) == (0, 0)
