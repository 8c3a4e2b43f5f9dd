"""One run, taken up again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from genunlearn.config.lm import LMConfig
from genunlearn.errors import MismatchError
from genunlearn.records import write_jsonl
from genunlearn.runs.run import Run
from tests.tiny_models import TAUGHT, build

FACT = {"subject": "Harry Potter", "relation": "studied at", "object": "Hogwarts", "question": TAUGHT[0][0]}


def config_of(place: Path, method: dict[str, Any]) -> LMConfig:
    build("llama", place / "model")
    write_jsonl(place / "facts.jsonl", [FACT])
    return LMConfig.model_validate(
        {
            "model": {"source": str(place / "model"), "prompts": "lab"},
            "request": {"file": str(place / "facts.jsonl")},
            "method": method,
        }
    )


def test_a_layer_that_the_model_does_not_have_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    run = Run(config_of(tmp_path, {"name": "rmu", "layer": 2}), tmp_path / "out")
    with pytest.raises(MismatchError, match=r"method.layer = 2: this model has the layers 0 to 1"):
        run()
    assert not run.beside.measured


def test_a_run_is_not_taken_up_on_a_request_that_has_changed(tmp_path: Path) -> None:
    config = config_of(tmp_path, {"name": "grad_diff"})
    with pytest.raises(KeyboardInterrupt), Run(config, tmp_path / "out").folder.guarded():
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), Run(config, tmp_path / "out", resume=True).folder.guarded():
        raise KeyboardInterrupt
    write_jsonl(tmp_path / "facts.jsonl", [{**FACT, "object": "Durmstrang"}])
    with pytest.raises(MismatchError, match="the data have changed since that run began"):
        Run(config, tmp_path / "out", resume=True)
