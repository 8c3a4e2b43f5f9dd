"""One run, taken up again."""

from __future__ import annotations

from pathlib import Path

import pytest

from genunlearn.config.lm import LMConfig
from genunlearn.errors import MismatchError
from genunlearn.records import write_jsonl
from genunlearn.runs.run import Run
from tests.tiny_models import TAUGHT, build

FACT = {"subject": "Harry Potter", "relation": "studied at", "object": "Hogwarts", "question": TAUGHT[0][0]}


def test_a_run_is_not_taken_up_on_a_request_that_has_changed(tmp_path: Path) -> None:
    build("llama", tmp_path / "model")
    file = tmp_path / "facts.jsonl"
    write_jsonl(file, [FACT])
    config = LMConfig.model_validate(
        {
            "model": {"source": str(tmp_path / "model"), "prompts": "lab"},
            "request": {"file": str(file)},
            "method": {"name": "grad_diff"},
        }
    )
    with pytest.raises(KeyboardInterrupt), Run(config, tmp_path / "out").folder.guarded():
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), Run(config, tmp_path / "out", resume=True).folder.guarded():
        raise KeyboardInterrupt
    write_jsonl(file, [{**FACT, "object": "Durmstrang"}])
    with pytest.raises(MismatchError, match="the data have changed since that run began"):
        Run(config, tmp_path / "out", resume=True)
