"""Rules of guidance in a patch: written, put back in force, switched off, and refused where they were changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from genunlearn.contracts import Splits
from genunlearn.data.diffusion.concepts import forget_prompts, parse_concepts
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.guidance import RULE_FILE, ClassifierFree
from genunlearn.domains.diffusion.sampling import Sampling
from genunlearn.errors import DataError, MismatchError, NeedNotMet, OutputExists
from genunlearn.methods.diffusion.negative_prompt import NegativePrompt
from genunlearn.methods.diffusion.sld import SLD
from genunlearn.records import hash_json
from tests.tiny_pipelines import tiny

FEW = Sampling(steps=3, guidance=3.0)
METHODS = [NegativePrompt(), SLD(warmup=0, strength=2000.0)]


def look(model: Diffusion) -> torch.Tensor:
    return model.images(["a red cat"], [1], FEW)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_rule_comes_back_and_can_be_switched_off(method: Any, tmp_path: Path) -> None:
    model = Diffusion(tiny("sd1"))
    original = look(model)
    method.apply(model, Splits(forget=forget_prompts(parse_concepts(["cat"]))))
    blocked = look(model)
    assert not torch.equal(blocked, original)
    path = model.export(tmp_path, "guidance")
    note = json.loads(path.read_text())
    assert note["method"] == method.name and note["base_sha256"] == model.base_sha256
    again = Diffusion(tiny("sd1"))
    assert again.load_patch(tmp_path) == "guidance"
    assert torch.equal(look(again), blocked)
    with again.without_rule():
        assert torch.equal(look(again), original)
    assert torch.equal(look(again), blocked)
    with pytest.raises(OutputExists):
        model.export(tmp_path, "guidance")


def test_weights_and_a_rule_in_one_patch(tmp_path: Path) -> None:
    model = Diffusion(tiny("sd1"))
    with torch.no_grad():
        model.network.conv_in.bias.add_(1.0)
    model.network.conv_in.bias.requires_grad_(True)
    model.rule = ClassifierFree("a dog")
    for kind in ("delta", "guidance"):
        model.export(tmp_path, kind)
    again = Diffusion(tiny("sd1"))
    assert again.load_patch(tmp_path) == "delta"
    assert torch.equal(look(again), look(model)) and again.rule == model.rule


def test_a_rule_for_another_base_is_refused(tmp_path: Path) -> None:
    model = Diffusion(tiny("sd1"))
    model.rule = ClassifierFree("a dog")
    path = model.export(tmp_path, "guidance")
    other = Diffusion(tiny("sd1", seed=5))
    with pytest.raises(MismatchError, match="made for other base weights"):
        other.load_patch(tmp_path)
    assert other.rule == ClassifierFree(), "nothing was put in force"
    assert other.load_patch(tmp_path, force=True) == "guidance" and other.rule == model.rule
    half = Diffusion(tiny("sd1").to(torch.float16))  # another hash, the same model
    assert half.load_patch(tmp_path) == "guidance"
    note = {key: value for key, value in json.loads(path.read_text()).items() if key not in ("base", "norms", "sha256")}
    path.write_text(json.dumps({**note, "sha256": hash_json(note)}))  # as they were written before
    assert Diffusion(tiny("sd1")).load_patch(tmp_path) == "guidance"
    with pytest.raises(MismatchError, match="made for other base weights"):
        other.load_patch(tmp_path)


def test_no_rule_no_note(tmp_path: Path) -> None:
    with pytest.raises(NeedNotMet, match="no rule of guidance was set"):
        Diffusion(tiny("sd1")).export(tmp_path, "guidance")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"settings": {"negative": "a dog"}}, "changed after it was written"),
        ({"settings": {"negative": 5}}, "negative = 5 is no value"),
        ({"settings": {}}, "the settings of negative_prompt are negative"),
        ({"settings": None}, "the settings of negative_prompt are negative"),
        ({"method": "magic"}, "no method at inference that this package knows: negative_prompt, sld are"),
        ({"method": ["sld"]}, "no method at inference"),
        ({"sha256": None}, "changed after it was written"),
    ],
)
def test_notes_that_cannot_be_used(change: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    model = Diffusion(tiny("sd1"))
    model.rule = ClassifierFree("a cat")
    path = model.export(tmp_path, "guidance")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    again = Diffusion(tiny("sd1"))
    with pytest.raises(DataError, match=complaint):
        again.load_patch(path)
    assert again.rule == ClassifierFree()
    if complaint.startswith("changed"):
        assert again.load_patch(path, force=True) == "guidance"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"5", b"\xff\xfe{"])
def test_files_that_are_no_notes(content: bytes, tmp_path: Path) -> None:
    (tmp_path / RULE_FILE).write_bytes(content)
    with pytest.raises(DataError):
        Diffusion(tiny("sd1")).load_patch(tmp_path)
