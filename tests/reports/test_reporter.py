"""Whose report a record gets: by its family, in one table, which plug-ins add to."""

from __future__ import annotations

from pathlib import Path

import pytest

from genunlearn.errors import DataError, MismatchError, NameNotFound
from genunlearn.records import RunRecord
from genunlearn.registry import DOMAINS, REPORTS
from genunlearn.reports.lm.reporter import FACTS
from genunlearn.reports.network.report import ITEMS
from genunlearn.reports.reporter import Reporter, common_reporter, reporter_of

MINE = Reporter(write=lambda record, folder: folder, compare=lambda records, folder: folder, show=lambda *_: None)


def of(domain: str, **config: str) -> RunRecord:
    return RunRecord(config={"domain": domain, **config})


def test_a_family_of_a_plugin_has_its_own_reporter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(REPORTS, "_lines", dict(REPORTS._lines))
    monkeypatch.setattr(DOMAINS, "_lines", dict(DOMAINS._lines))
    REPORTS.register("unlearn", f"{__name__}:MINE", family="sound")
    DOMAINS.register("sound", "fractions:Fraction", family="sound")
    assert reporter_of(of("sound")).write(of("sound"), tmp_path) == tmp_path
    assert reporter_of(of("lm")) is FACTS
    with pytest.raises(NameNotFound, match="smell"):
        reporter_of(of("smell"))


def test_runs_of_different_families_are_not_compared() -> None:
    runs = {"a": of("lm"), "b": of("classifier"), "c": of("lm"), "d": of("diffusion", task="audit")}
    said = r"^runs of different families: a \(unlearn of lm\), b \(unlearn of network\), d \(audit of diffusion\): "
    with pytest.raises(MismatchError, match=said):
        common_reporter(runs)
    assert common_reporter({"b": of("classifier"), "e": of("regression")}) is ITEMS
    with pytest.raises(DataError, match="nothing to compare"):
        common_reporter({})
