"""Folders of runs that an earlier version has left: they are reported, compared and taken up again.

``earlier/KIND-whole`` has ended, without its weights; ``earlier/KIND-begun`` was killed once its original was measured.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from genunlearn.config import build_config
from genunlearn.records import read_record
from genunlearn.reports.reporter import reporter_of
from genunlearn.runs.api import run, write_reports

EARLIER = Path(__file__).parent / "earlier"
KINDS = ("lm", "classifier", "diffusion", "audit")


@pytest.fixture
def earlier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(EARLIER, tmp_path / "runs")
    monkeypatch.chdir(tmp_path / "runs")
    return tmp_path / "runs"


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_reported_and_compared(earlier: Path, kind: str) -> None:
    folder = earlier / f"{kind}-whole"
    record = read_record(folder)
    assert record.status == "completed"
    assert "<html" in write_reports(record, folder).read_text()
    page = reporter_of(record).compare({"one": record, "two": record}, earlier / "comparison")
    assert "<html" in page.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_they_go_on_from_where_they_were(earlier: Path, kind: str) -> None:
    folder = earlier / f"{kind}-begun"
    before, whole = read_record(folder), read_record(earlier / f"{kind}-whole")
    kept = {path: path.read_bytes() for path in folder.glob("state/units/*.json")}
    record = run(build_config(before.config), out=folder, resume=True)
    assert (record.status, record.created) == ("completed", before.created)
    assert all(path.read_bytes() == content for path, content in kept.items()), "what was done is not done again"
    measured, expected = (
        {(r.name, r.version, r.group): r.value for r in each.results if r.target == "original"}
        for each in (record, whole)
    )
    same = measured.keys() & expected.keys()  # what a later version measures otherwise has another number
    assert same and {key: measured[key] for key in same} == {key: expected[key] for key in same}
    assert {r.target for r in record.results} == {r.target for r in whole.results}
