"""Reports of erasure runs: the interval decides the mark, and runs on different models are kept apart."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from genunlearn.records import COMPLETED, Result, RunRecord
from genunlearn.reports.diffusion.reading import read_erasure
from genunlearn.reports.diffusion.report import CONCEPTS
from genunlearn.reports.headline import Tone


def build(ua: float = 1.0, low: float = 0.95, ira: float = 0.98, source: str = "lab:diffusion") -> RunRecord:
    """A run on one concept with 64 images; `ua` with the lower end of its interval, IRA of what stays."""
    results = [
        Result(name=name, target=target, value=value, low=bottom, high=1.0, n=64, group="cat", higher_is_better=True)
        for name, target, value, bottom in (
            ("ua", "original", 0.02, 0.0),
            ("ua", "unlearned", ua, low),
            ("ira", "original", 0.98, 0.9),
            ("ira", "unlearned", ira, 0.1),
        )
    ]
    config = {"domain": "diffusion", "model": {"source": source}, "method": {"name": "uce"}}
    return RunRecord(status=COMPLETED, request={"concepts": ["cat"]}, config=config, results=results)


@pytest.mark.parametrize(
    ("record", "tone", "verdict"),
    [
        (build(), Tone.GOOD, "Not drawn in 64 images (at most 0.05 of them); not audited"),
        (build(low=0.6), Tone.WARN, "Not drawn in 64 images (at most 0.40 of them); not audited"),
        (
            build(ira=0.5),
            Tone.WARN,
            "Not drawn in 64 images (at most 0.05 of them), and other things lost with it; not audited",
        ),
        (build(ua=0.5, low=0.4), Tone.BAD, "Still drawn; not audited"),
        (RunRecord(status=COMPLETED), Tone.NEUTRAL, "Done, not judged"),
    ],
)
def test_the_interval_decides_the_mark(record: RunRecord, tone: Tone, verdict: str) -> None:
    found = read_erasure(record)
    assert (found.tone, found.verdict) == (tone, verdict)


def test_runs_on_different_models_are_kept_apart_and_said_to_differ(tmp_path: Path) -> None:
    runs = {"a": build(), "b": build(source="org/other")}
    page = CONCEPTS.compare(runs, tmp_path).read_text(encoding="utf-8")
    assert re.findall(r'<th scope="row">(.*?)</th>', page)[:4] == ["Before of a", "Before of b", "a", "b"]
    console = Console(file=io.StringIO(), width=120)
    CONCEPTS.show(runs, console)
    caution = "The runs differ in the model: lab:diffusion (a); org/other (b)."
    assert caution in page and caution in console.file.getvalue()  # type: ignore[attr-defined]
    assert caution in (tmp_path / "compare.md").read_text(encoding="utf-8")
