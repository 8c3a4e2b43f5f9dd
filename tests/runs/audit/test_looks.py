"""The order of an audit, whatever its family: oracle asked, damage judged, looked at until something is decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from genunlearn.config import AuditConfig, build_config
from genunlearn.contracts.family import Audit
from genunlearn.errors import DataError
from genunlearn.records import RunRecord, read_record
from genunlearn.reports.audit.report import read_audit, write_report
from genunlearn.runs.audit import run as audit_run
from genunlearn.runs.audit.run import AuditRun

SIZES = (32, 64, 128)


@dataclass(frozen=True)
class Subject:
    """Something that should be gone."""

    label: str = "seven"
    role: str = "forget"


@dataclass(frozen=True)
class Try:
    """An attack that finds what the table of its audit says."""

    name: str
    budget: str = "none"
    is_idle: bool = False

    def carries_in(self, strength: str) -> bool:
        return False


class Tables(Audit[Subject, Any]):
    """Every model shows the subject in a given share of its images."""

    panel: ClassVar[Sequence[Sequence[str]]] = (("noise",), ("search",))
    shares: Mapping[str, Mapping[str, float]]
    kept: Mapping[str, str]
    stands_in: str
    calls: list[tuple[str, str, int]]

    def subjects(self) -> Sequence[Subject]:
        return [Subject()]

    def open(self, forgotten: Sequence[str]) -> Mapping[str, Any]:
        known = ("original", "unlearned", "oracle")
        return {name: object() for name in known if name in self.shares["plain prompts"]}

    def begin(self, models: Mapping[str, Any], units: Any, folder: Path) -> None:
        pass

    def looks(self) -> Sequence[int]:
        return SIZES

    def damage(self, target: str = "unlearned") -> str | None:
        return self.kept.get(target)

    def surrogates(self, subject: Subject) -> str:
        return self.stands_in

    def plain(self, subject: Subject, target: str, look: int = 0) -> dict[str, Any]:
        return self._found("plain prompts", target, look)

    def attempt(self, subject: Subject, attack: Try, target: str, look: int = 0) -> dict[str, Any]:
        return {**self._found(attack.name, target, look), "forwards": 10, "seconds": 1.0}

    def _found(self, attack: str, target: str, look: int) -> dict[str, Any]:
        self.calls.append((attack, target, look))
        if self.stop_at == len(self.calls):
            raise KeyboardInterrupt
        n = SIZES[look] - (SIZES[look - 1] if look else 0)
        if target not in self.shares[attack]:
            return {"skipped": "not for this one"}
        return {"strengths": [""], "hits": [round(self.shares[attack][target] * n)], "n": n}

    stop_at: int | None = None

    def describe(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {"concepts": ["seven"]}, {}

    def forwards(self) -> Mapping[str, int]:
        return {}


ORIGINAL_AND = {"original": 1.0}
NOTHING = {**ORIGINAL_AND, "unlearned": 0.0, "oracle": 0.0}


@pytest.fixture
def audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Carries an audit out; gives its record and what was asked of the family."""
    config = build_config(
        {"task": "audit", "domain": "diffusion", "unlearned": "x", "request": {"concepts": ["seven"]}}
    )
    assert isinstance(config, AuditConfig)

    def carry_out(
        shares: Mapping[str, Mapping[str, float]], *, kept: Mapping[str, str] = {}, stands_in: str = "",
        stop_at: int | None = None, resume: bool = False, until: str = "all",
    ) -> tuple[RunRecord, list[tuple[str, str, int]]]:  # fmt: skip
        family = Tables(config, None)  # type: ignore[arg-type]
        family.shares, family.kept, family.stands_in = shares, kept, stands_in
        family.calls, family.stop_at = [], stop_at
        attacks = {name: Try(name) for name in shares if name != "plain prompts"}
        monkeypatch.setattr(audit_run, "prepare", lambda config, watch: (family, family.subjects(), attacks))
        asked = config.model_copy(update={"evaluate": config.evaluate.model_copy(update={"until": until})})
        record = AuditRun(asked, tmp_path / "out", resume=resume)()
        return record, family.calls

    return carry_out


def test_what_is_clear_at_once_takes_one_look(audit: Any) -> None:
    record, calls = audit({"plain prompts": NOTHING, "noise": {**NOTHING, "unlearned": 1.0}, "search": NOTHING})
    (verdict,) = record.verdicts
    assert (verdict["verdict"], verdict["recovered_by"]) == ("concealed", ["noise"])
    assert {look for _, _, look in calls} == {0}
    assert verdict["looks"] == [{"n": 32, "alpha": 0.003125}]


def test_an_audit_may_end_once_its_verdict_stands(audit: Any) -> None:
    shares = {"plain prompts": NOTHING, "noise": {**NOTHING, "unlearned": 1.0}, "search": NOTHING}
    record, calls = audit(shares, until="decided")
    (verdict,) = record.verdicts
    assert (verdict["verdict"], verdict["recovered_by"]) == ("concealed", ["noise"])
    assert not any(attack == "search" for attack, _, _ in calls)
    assert "seven: not tried, since the verdict stands: search" in record.notes


def test_what_plain_prompts_show_needs_no_attack(audit: Any) -> None:
    record, calls = audit({"plain prompts": {**NOTHING, "unlearned": 1.0}, "noise": NOTHING}, until="decided")
    assert record.verdicts[0]["verdict"] == "present"
    assert {attack for attack, _, _ in calls} == {"plain prompts"}


def test_what_nothing_brings_out_is_tried_to_the_end(audit: Any) -> None:
    """A little more than the control shows is no verdict: it may fall to the correction for the attacks that follow."""
    little = {**NOTHING, "unlearned": 0.2}
    record, calls = audit({"plain prompts": NOTHING, "noise": little, "search": NOTHING}, until="decided")
    assert {attack for attack, _, _ in calls} == {"plain prompts", "noise", "search"}
    assert not any("not tried" in note for note in record.notes)


def test_more_is_drawn_of_what_is_not_decided_until_it_is(audit: Any, tmp_path: Path) -> None:
    half = {**ORIGINAL_AND, "unlearned": 0.5, "oracle": 0.5}
    record, calls = audit({"plain prompts": NOTHING, "noise": half, "search": NOTHING})
    (verdict,) = record.verdicts
    # 0 of 32 may hide 0.21 at the first look's level; shares of one half need all 128.
    assert verdict["verdict"] == "gone"
    assert [look["n"] for look in verdict["looks"]] == [32, 64, 128]
    later = [(attack, target) for attack, target, look in calls if look == 2]
    assert later == [("noise", "unlearned"), ("noise", "oracle")], "what is decided, and the original, draw no more"
    shares = {c["attack"]: c["shares"] for c in verdict["comparisons"]}
    assert shares["noise"] == {
        "original": {"shown": 32, "n": 32}, "unlearned": {"shown": 64, "n": 128}, "oracle": {"shown": 64, "n": 128}
    }  # fmt: skip
    found = record.find("asr", "unlearned", "seven, noise")
    assert (found.value, found.n) == (0.5, 128)
    assert sum(r.group == "seven, noise" for r in record.results) == 3
    (row,) = (row for row in record.rounds if row["attack"] == "noise")
    assert row["forwards"] == {"original": 10, "unlearned": 30, "oracle": 30}
    page = write_report(record, tmp_path / "out").read_text()
    assert "Looked at 32 (0.31%), then 64 (0.94%), then 128 (3.75%) images of each model" in page
    assert "Nothing counts as gone without noise (tried), search (tried)." in page


def test_a_stated_budget_ends_the_search(audit: Any) -> None:
    near = {**ORIGINAL_AND, "unlearned": 0.55, "oracle": 0.45}
    (verdict,) = audit({"plain prompts": NOTHING, "noise": near, "search": NOTHING})[0].verdicts
    assert verdict["verdict"] == "undecided" and "may be as large as" in verdict["reason"]
    assert [look["n"] for look in verdict["looks"]] == [32, 64, 128]


def test_a_killed_audit_keeps_its_looks(audit: Any, tmp_path: Path) -> None:
    half = {**ORIGINAL_AND, "unlearned": 0.5, "oracle": 0.5}
    shares = {"plain prompts": NOTHING, "noise": half, "search": NOTHING}
    whole, calls = audit(shares)
    (tmp_path / "out").rename(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        audit(shares, stop_at=len(calls) - 1)
    assert read_record(tmp_path / "out").status == "interrupted"
    resumed, more = audit(shares, resume=True)
    assert resumed.verdicts == whole.verdicts and resumed.results == whole.results
    assert more == calls[-2:], "only what was not done is done"


def test_an_oracle_that_shows_the_concept_is_none(audit: Any) -> None:
    with pytest.raises(DataError, match="seven: the oracle shows it in 32 of 32 images, so it knows or infers it"):
        audit({"plain prompts": {**NOTHING, "oracle": 1.0}, "noise": NOTHING, "search": NOTHING})


def test_an_oracle_that_has_lost_what_must_stay_is_none(audit: Any) -> None:
    with pytest.raises(DataError, match="the oracle: dogs fell to 0, so it is no oracle; name another in oracle"):
        audit({"plain prompts": NOTHING, "noise": NOTHING}, kept={"oracle": "dogs fell to 0"})


def test_a_ruined_model_is_damaged_and_not_attacked(audit: Any) -> None:
    shares = {"plain prompts": NOTHING, "noise": {**NOTHING, "unlearned": 1.0}, "search": NOTHING}
    record, calls = audit(shares, kept={"unlearned": "dogs fell to 0"})
    assert (record.verdicts[0]["verdict"], record.verdicts[0]["reason"]) == ("damaged", "dogs fell to 0")
    assert {attack for attack, _, _ in calls} == {"plain prompts"}


def test_surrogates_stand_in_where_there_is_no_oracle(audit: Any, tmp_path: Path) -> None:
    plain = {**ORIGINAL_AND, "unlearned": 0.0, "anchor": 0.0, "decoy": 0.1}
    shares = {"plain prompts": plain, "noise": {**plain, "unlearned": 1.0}, "search": {**plain, "decoy": 0.0}}
    record, calls = audit(shares, stands_in="the original asked for 'one'")
    (verdict,) = record.verdicts
    assert verdict["verdict"] == "concealed" and verdict["surrogates"] == "the original asked for 'one'"
    assert verdict["controls"] == ["original", "anchor", "decoy"]
    assert ("noise", "anchor", 0) in calls and ("noise", "decoy", 0) in calls
    assert read_audit(record).verdict == "Concealed, beside surrogates"
    assert ">Anchor<" in write_report(record, tmp_path / "out").read_text()
