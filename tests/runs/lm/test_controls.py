"""What is found of original and oracle may be shared by the runs of one request, and by the audits of one pair."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from genunlearn.config.lm import LMAuditConfig, LMConfig
from genunlearn.engine.progress import Watch
from genunlearn.errors import ConfigError
from genunlearn.registry import METHODS
from genunlearn.runs.api import audit_config, forget_config, run
from genunlearn.runs.lm import audit
from genunlearn.runs.lm.audit import LMAudit
from genunlearn.runs.lm.family import LMFamily

FACT = "carmen.created-by"
QUIET = ("evaluate.oracle=never", "evaluate.samples=0", "evaluate.suite=facts-quick", "train.max_steps=1")


def configured(method: str, *overrides: str) -> Any:
    """A run of one fact of the lab."""
    return forget_config("lab:lm", {"facts": (FACT,)}, method=method, overrides=[*QUIET, *overrides])


def place(config: LMConfig) -> Path | None:
    """Where a run keeps what others may use."""
    family = LMFamily(config, Watch(is_shown=False))
    return family.controls(family.request(METHODS.get(config.method.name, "lm")()))


@pytest.mark.slow
def test_the_model_is_asked_once_for_all_methods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    measure = LMFamily.measure

    def counted(self: LMFamily, model: Any, request: Any, target: str, beside: Any) -> Any:
        asked.append(target)
        return measure(self, model, request, target, beside)

    monkeypatch.setattr(LMFamily, "measure", counted)
    shared, oracle = f"controls={tmp_path / 'controls'}", "evaluate.oracle=lab:lm"
    records = [run(configured(name, shared, oracle), out=tmp_path / name) for name in ("grad_ascent", "npo")]
    by_itself = run(configured("npo", oracle), out=tmp_path / "alone")
    assert asked == ["original", "unlearned", "oracle", "unlearned", "original", "unlearned", "oracle"]
    for target in ("original", "oracle"):
        first, second, alone = ([row for row in each.results if row.target == target] for each in [*records, by_itself])
        assert first and first == second == alone
    told = [[row for row in each.results if row.target == "unlearned"] for each in (records[1], by_itself)]
    assert told[0] == told[1]


def test_what_answers_depend_on_has_a_folder_of_its_own(tmp_path: Path) -> None:
    shared = f"controls={tmp_path}"
    of_method, of_training = (
        place(configured("npo", shared)),
        place(configured("grad_ascent", shared, "train.max_steps=9")),
    )
    assert of_method == of_training and of_method is not None
    others = ("seed=1", "evaluate.max_new_tokens=7", "model.dtype=bfloat16", "evaluate.suite=facts")
    places = {place(configured("npo", shared, other)) for other in others}
    assert len(places) == len(others) and of_method not in places
    assert place(configured("npo")) is None


@pytest.mark.parametrize("other", ["evaluate.judge=lab:lm", "on=runs/earlier"])
def test_controls_are_refused_where_answers_depend_on_more(other: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="controls: not with"):
        place(configured("npo", f"controls={tmp_path}", other))


def test_runs_of_other_weights_at_the_same_place_share_nothing(tiny_folder: Any, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder("llama"), tmp_path / "model"))
    request = {"facts": ("Carmen | created by | Georges Bizet",), "question": "Who wrote Carmen?"}
    shared = str(tmp_path / "shared")
    config = LMConfig(model={"source": str(folder)}, request=request, controls=shared)
    taught_from_it = LMConfig(
        model={"source": "lab:lm"}, request=request, controls=shared, oracle={"base": str(folder)}
    )
    before, base_before = place(config), place(taught_from_it)
    settings = folder / "config.json"
    settings.write_text(settings.read_text().replace('"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-05'))
    assert before is not None and place(config) != before
    assert base_before is not None and place(taught_from_it) != base_before


def test_audits_of_other_weights_at_the_same_place_share_nothing(tiny_folder: Any, tmp_path: Path) -> None:
    """A model that is trained anew lies where the one of before lay."""
    folder = Path(shutil.copytree(tiny_folder("llama"), tmp_path / "model"))
    config = LMAuditConfig(model={"source": str(folder)}, unlearned=str(folder), oracle=str(folder))
    before = LMAudit(config, Watch(is_shown=False)).weights()
    assert {*before} == {"original", "oracle"}
    settings = folder / "config.json"
    settings.write_text(settings.read_text().replace('"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-05'))
    after = LMAudit(config, Watch(is_shown=False)).weights()
    assert all(before[role] != after[role] for role in before)


@pytest.mark.slow
def test_audits_of_one_original_find_its_phrasings_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    find = audit.find_phrasings
    monkeypatch.setattr(audit, "find_phrasings", lambda fact, *given: asked.append(fact.id) or find(fact, *given))
    shared = (
        f"controls={tmp_path / 'controls'}",
        "evaluate.decoys=1",
        "evaluate.phrasings=4",
        "attacks={completion: {}}",
    )
    records = []
    for name in ("grad_ascent", "npo"):
        run(configured(name), out=tmp_path / name)
        config = audit_config(
            str(tmp_path / name), {"facts": (FACT,)}, original="lab:lm", oracle="never", overrides=shared
        )
        records.append(run(config, out=tmp_path / f"{name}-audit"))
    assert asked == [FACT]
    assert records[0].request["phrasings"] == records[1].request["phrasings"]
