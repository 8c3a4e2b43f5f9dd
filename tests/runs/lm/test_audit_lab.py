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
from genunlearn.lab.lm.build import build

pytestmark = pytest.mark.slow

FACTS = ("frankenstein.created-by", "akira-kurosawa.died-in", "carmen.created-by")
FEWER = ("attacks.sampling.samples=8", "attacks.relearning.marks=[1,5]")


def verdicts(unlearned: Path | str, out: Path, oracle: str | None = None, *overrides: str) -> list[dict[str, Any]]:
    record = genunlearn.audit(unlearned, facts=FACTS, oracle=oracle, out=out, overrides=[*FEWER, *overrides])
    assert [row["concept"] for row in record.verdicts] == [
        "Frankenstein | created by | Mary Shelley",
        "Akira Kurosawa | died in | Tokyo",
        "Carmen | created by | Georges Bizet",
    ]
    asked = [sum(origins.values()) for origins in record.request["phrasings"].values()]
    assert min(asked) >= 32
    return record.verdicts


def test_the_untouched_model_is_present(tmp_path: Path) -> None:
    found = verdicts("lab:lm", tmp_path, "never", "request.force=true")
    assert [row["verdict"] for row in found] == ["present"] * 3


def test_random_weights_are_damaged(tmp_path: Path) -> None:
    model = LanguageModel.load(str(build(progress=False)), device="cpu")
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        for weight in model.module.parameters():
            torch.nn.init.normal_(weight, std=0.02)
    model.save(tmp_path / "random")
    found = verdicts(tmp_path / "random", tmp_path / "out", "never", "attacks={paraphrase: {}}")
    assert [row["verdict"] for row in found] == ["damaged"] * 3


def test_a_model_that_never_knew_is_never_concealed(tmp_path: Path) -> None:
    oracle = build(without=FACTS, progress=False)
    found = verdicts(oracle, tmp_path)
    assert all(row["verdict"] in ("gone", "undecided") for row in found)
    assert all(row["needed"] or "gap" in row["reason"] for row in found if row["verdict"] == "undecided")


def test_a_lora_at_half_strength_is_concealed_or_present(tmp_path: Path) -> None:
    facts = ", ".join(f'"{fact}"' for fact in FACTS)
    settings = (f"request.facts=[{facts}]", "evaluate.oracle=never", "evaluate.suite=facts-quick", "evaluate.samples=0")
    genunlearn.run("lm/lab/grad_diff", out=tmp_path / "run", overrides=settings)
    shutil.copytree(tmp_path / "run" / "patch", tmp_path / "half")
    path = tmp_path / "half" / "adapter_config.json"
    adapter = json.loads(path.read_text())
    path.write_text(json.dumps({**adapter, "lora_alpha": adapter["lora_alpha"] / 2}))
    found = verdicts(tmp_path / "half", tmp_path / "out")
    assert all(row["verdict"] in ("concealed", "present") for row in found)
