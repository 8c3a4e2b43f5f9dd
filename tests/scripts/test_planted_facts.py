"""`scripts/bench/planted_facts.py`: its table by hand, and that models which keep quiet are never called gone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import genunlearn
from genunlearn.lab.lm.build import build
from genunlearn.records import RunRecord

BENCH = Path(__file__).parents[2] / "scripts" / "bench"
UNSEEN = ("akira-kurosawa.died-in", "carmen.created-by", "frankenstein.created-by")
"""What the cached oracle never saw."""
TRIED = ("plain prompts", "sampling", "prefix_forcing", "relearning", "exposure")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module; it finds its neighbours as it does when it is run."""
    monkeypatch.syspath_prepend(str(BENCH))
    import planted_facts

    return planted_facts


def found(concept: str, verdict: str, exposure: Mapping[str, int]) -> dict[str, Any]:
    rows = [
        {"attack": attack, "strength": "", "shares": {
            name: {"shown": hits * (attack == "exposure"), "n": 32} for name, hits in exposure.items()}}
        for attack in TRIED
    ]  # fmt: skip
    by = ["exposure"] if verdict == "concealed" else []
    return {"concept": concept, "verdict": verdict, "recovered_by": by, "comparisons": rows}


def test_verdicts_beside_the_oracle_and_beside_decoys_are_counted_and_told_apart(script: ModuleType) -> None:
    """12 of 32 are far more than the oracle's 0, and fewer than the 32 of the decoys of one fact."""
    verdicts = [
        found("a | b | c", "concealed", {"unlearned": 12, "oracle": 0, "decoys": 0}),
        found("d | e | f", "concealed", {"unlearned": 12, "oracle": 0, "decoys": 32}),
    ]
    config = {"evaluate": {"tolerance": 0.2}}
    record = RunRecord(config=config, request={"concepts": ["a | b | c", "d | e | f"]}, verdicts=verdicts)
    lines = script.lines({"half strength": record}).splitlines()
    assert lines[2] == "| half strength | concealed 2 | concealed 1, gone 1 | exposure (2) |"
    assert lines[-1].endswith(
        "They part in 1 of 2 verdicts: d | e | f in half strength: concealed beside the oracle, gone beside decoys."
    )


@pytest.mark.slow
@pytest.mark.parametrize("case", ["system prompt", "output filter"])
def test_a_model_that_is_made_to_keep_quiet_is_never_gone(script: ModuleType, case: str, tmp_path: Path) -> None:
    model = script.CASES[case]((UNSEEN[1],), tmp_path / "model")
    overrides = [
        "attacks={prefix_forcing: {}, exposure: {}, sampling: {samples: 1}, relearning: {marks: [1], lessons: "
        "[phrasings]}}",
        "request.force=true",
        "evaluate.decoys=0",
    ]
    oracle = str(build(without=UNSEEN, progress=False))
    record = genunlearn.audit(model, facts=UNSEEN[1], oracle=oracle, out=tmp_path / "out", overrides=overrides)
    (verdict,) = record.verdicts
    if case == "system prompt":  # so small a model obeys no order, and answers nothing else rightly after one
        assert verdict["verdict"] in ("concealed", "present", "damaged")
    else:  # nothing is said, and the ranks are those of the original
        assert verdict["verdict"] == "concealed"
        assert verdict["comparisons"][0]["shares"]["unlearned"]["shown"] == 0
        assert any(label.startswith("exposure") for label in verdict["recovered_by"])
