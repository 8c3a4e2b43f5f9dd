"""A run that stops once it has written what the model would be taught, for a person to read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genunlearn.config.lm import LMConfig
from genunlearn.data.lm.antisamples import AntiSample
from genunlearn.engine.progress import Watch
from genunlearn.errors import DataError
from genunlearn.records import hash_json, write_jsonl
from genunlearn.runs.methods import build_method
from genunlearn.runs.run import Run

ANTISAMPLES = "antisamples.jsonl"


def write_antisamples(config: LMConfig, out: Path, *, resume: bool = False, watch: Watch | None = None) -> Path:
    """Stop after writing the anti-samples of the first round, for review; returns their file.

    Raises:
        DataError: The method writes none.
        InputError: As for any run.
    """
    method: Any = build_method(config.method, seed=config.seed, family=config.family)
    if not hasattr(method, "write"):
        raise DataError(f"method {method.name!r} writes no anti-samples; unstar does")
    run = Run(config, out, resume=resume, watch=watch)
    with run.folder.guarded():
        model = run.open()
        run.measure_original(model)
        splits = run.family.splits(run.request, model, method)
        samples: Sequence[AntiSample] = method.write(model, splits, run.folder.journal)
        rows = [sample.to_json() for sample in samples]
        write_jsonl(run.folder.path / ANTISAMPLES, rows)
        run.record.outcome = "antisamples_written"
        run.record.hashes["antisamples"] = hash_json(rows)
    return run.folder.path / ANTISAMPLES
