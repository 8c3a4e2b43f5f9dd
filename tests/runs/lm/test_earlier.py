"""Requests that follow each other: what stays on, what is asked again, what is refused."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from genunlearn.config import ParametersConfig, build_config
from genunlearn.config.lm import LMConfig
from genunlearn.data.lm.facts import EARLIER, QA, Fact, Scope
from genunlearn.domains.lm.adapter import LanguageModel
from genunlearn.engine import parameters
from genunlearn.engine.patches import put_on
from genunlearn.engine.progress import Watch
from genunlearn.errors import ConfigError, DataError, InputError
from genunlearn.methods.general.grad_diff import GradDiff
from genunlearn.records import COMPLETED, RunRecord
from genunlearn.runs.lm.earlier import Earlier, read_earlier, with_earlier
from genunlearn.runs.lm.family import LMFamily

IDS = torch.arange(2, 12).unsqueeze(0)
FIRST = Fact(id="potter", subject="Harry Potter", object="Hogwarts", question="Where did Harry Potter study?",
             heldout=("Which school did Harry Potter attend?",), aliases=("Hogwarts Castle",))  # fmt: skip
SECOND = Fact(id="curie", subject="Marie Curie", object="Warsaw", question="Where was Marie Curie born?")


def qa(key: str, question: str, answer: str, fact: str | None = None) -> QA:
    return QA(id=key, question=question, answer=answer, fact=fact)


@torch.no_grad()
def logits(model: LanguageModel) -> torch.Tensor:
    return model.module.eval()(input_ids=IDS).logits


def opened(worlds: Any) -> LanguageModel:
    return LanguageModel.load(worlds("lm").open().module.name_or_path, device="cpu")


def trained(model: LanguageModel, seed: int) -> LanguageModel:
    """The model with a LoRA that does something."""
    parameters.attach(model, ParametersConfig(rank=2, alpha=4), seed=seed)
    torch.manual_seed(seed)
    for parameter in parameters.trainable(model.module).values():
        torch.nn.init.normal_(parameter.data, std=0.2)
    return model


@pytest.fixture
def run(tmp_path: Path, worlds: Any) -> Path:
    """A finished run that removed `FIRST`, after one that removed something else."""
    folder = tmp_path / "first"
    parameters.save_patch(trained(opened(worlds), 1), folder / "patch")
    older = asdict(Fact(id="older", subject="Faust", object="Goethe", question="Who wrote Faust?"))
    request = {"facts": [asdict(FIRST)], "earlier": [older]}
    RunRecord(status=COMPLETED, request=request, config={"task": "unlearn", "domain": "lm"}).write(folder)
    return folder


def test_what_earlier_requests_removed_need_not_stay_and_is_asked_again() -> None:
    scope = Scope(
        facts=(SECOND, FIRST),
        retain=(qa("a", "Who wrote Faust?", "Goethe."), qa("b", "Harry Potter studied where?", "Hogwarts.", "potter")),
        measured={
            "forget": [qa("c", SECOND.question, "Warsaw.", "curie"), qa("d", FIRST.question, "Hogwarts.", "potter")],
            "rest": [qa("e", FIRST.question, "Hogwarts."), qa("f", "What is 12 times 12?", "144.")],
        },
    )
    after = with_earlier(scope, [FIRST])
    assert after.facts == (SECOND,)
    assert [item.id for item in after.retain] == ["a"]
    assert {group: [item.id for item in items] for group, items in after.measured.items()} == {
        "forget": ["c"], "rest": ["f"], EARLIER: ["potter/earlier0"],
    }  # fmt: skip
    asked = after.measured[EARLIER][0]
    assert (asked.question, asked.answer, asked.aliases) == (FIRST.heldout[0], "Hogwarts.", FIRST.aliases)


def test_one_patch_holds_the_earlier_requests_and_the_new_one(run: Path, worlds: Any, tmp_path: Path) -> None:
    earlier = read_earlier(str(run))
    assert [fact.id for fact in earlier.facts] == ["older", "potter"]
    assert earlier.facts[1] == FIRST
    base = opened(worlds)
    model = trained(earlier.fold_into(opened(worlds)), 2)
    wanted = logits(model)
    assert (wanted - logits(base)).abs().max() > 0.1
    (tmp_path / "second").mkdir()
    earlier.save_with(model, opened(worlds), tmp_path / "second" / "patch")
    put_on(base, [tmp_path / "second" / "patch"])
    assert torch.allclose(logits(base), wanted, atol=1e-4)
    assert sorted(path.name for path in (tmp_path / "second").iterdir()) == ["patch"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"status": "interrupted"}, "interrupted; finish it first"),
        ({"request": {"facts": []}}, "holds no facts"),
        ({"request": {"facts": [{"subject": "x"}]}}, "holds no facts"),
        ({"request": {"facts": ["x"]}}, "holds no facts"),
    ],
)
def test_what_cannot_be_followed_is_refused(run: Path, change: dict[str, Any], complaint: str) -> None:
    path = run / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=complaint):
        read_earlier(str(run))


@pytest.mark.parametrize(
    ("sections", "complaint"),
    [
        ({"request": {"file": "facts.jsonl"}}, "an earlier request has removed it already"),
        ({"request": {"forget": "pairs.jsonl"}}, "only requests of facts follow each other"),
    ],
)
def test_a_request_that_cannot_follow_is_refused(
    run: Path, worlds: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sections: Any, complaint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "facts.jsonl").write_text(json.dumps({**asdict(FIRST), "object_type": None}) + "\n")
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"question": "Who wrote Faust?", "answer": "Goethe."}) + "\n")
    source = worlds("lm").open().module.name_or_path
    config = build_config(
        {"domain": "lm", "on": str(run), "model": {"source": source}, "method": {"name": "grad_diff"}, **sections}
    )
    assert isinstance(config, LMConfig)
    with pytest.raises((DataError, ConfigError), match=complaint):
        LMFamily(config, Watch(is_shown=False)).request(GradDiff())


def test_a_patch_of_another_base_is_refused(run: Path, tmp_path: Path, worlds: Any) -> None:
    note = run / "patch" / parameters.PATCH_NOTE
    note.write_text(json.dumps(json.loads(note.read_text()) | {"base_sha256": "0" * 64}))
    with pytest.raises(InputError, match="made for base 000000000000"):
        Earlier((FIRST,), run / "patch").fold_into(opened(worlds))
