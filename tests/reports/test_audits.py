"""What the pages of audits say, one audit or several side by side, from records written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genunlearn.records import COMPLETED, Result, RunRecord
from genunlearn.reports.audit.compare import write_comparison
from genunlearn.reports.audit.curves import curves
from genunlearn.reports.audit.report import read_audit, write_report


def comparison(attack: str, strength: str, *, unlearned: int, decoys: int, **more: Any) -> dict[str, Any]:
    shares = {"unlearned": {"shown": unlearned, "n": 32}, "decoys": {"shown": decoys, "n": 32}}
    return {"attack": attack, "strength": strength, "shares": shares, **more}


def verdict(concept: str, said: str, *comparisons: dict[str, Any], by: Sequence[str] = ()) -> dict[str, Any]:
    named = {"concept": concept, "verdict": said, "reason": "r", "recovered_by": list(by), "controls": ["decoys"]}
    return named | {"comparisons": list(comparisons)}


def audit_of(*rows: dict[str, Any]) -> RunRecord:
    config = {"task": "audit", "domain": "lm", "evaluate": {"tolerance": 0.2}}
    concepts = [row["concept"] for row in rows]
    return RunRecord(status=COMPLETED, config=config, request={"concepts": concepts}, verdicts=list(rows))


def test_cells_show_the_widest_gap_to_a_control_and_nothing_beside_decoys_that_they_are_no_control_of(
    tmp_path: Path,
) -> None:
    """Half of the answer brings out 30 of 32, but decoys have another answer: the opening's 5 to 1 is what counts."""
    row = verdict(
        "A | b | C",
        "concealed",
        comparison("plain prompts", "", unlearned=0, decoys=0),
        comparison("prefix_forcing", "affirmative opening", unlearned=5, decoys=1),
        comparison("prefix_forcing", "half of the answer", unlearned=30, decoys=0, carries_in=True),
        comparison("relearning", "phrasings, 1 step", unlearned=20, decoys=0, carries_in=True),
        by=["prefix_forcing, affirmative opening"],
    )
    record = audit_of(row)
    text = (write_comparison({"npo": record}, tmp_path / "both").parent / "compare.md").read_text()
    assert rows_of(text) == [
        ["Audit", "Fact", "Verdict", "Recovered by", "Control"],
        ["npo", "A / b / C", "concealed", "prefix forcing, affirmative opening", "decoys"],
        ["Attack", "npo"],
        ["Plain prompts", "0 : 0 of 32"],
        ["Prefix forcing", "✗ 5 : 1 of 32 (affirmative opening)"],
        ["Relearning", "20 of 32, no control (phrasings, 1 step)"],
    ]


def test_audits_of_several_methods_stand_side_by_side_below_each_fact(tmp_path: Path) -> None:
    """Two audits, one of them of two facts and one of them with an attack that the other has not tried."""
    one = audit_of(verdict("A | b | C", "gone", comparison("plain prompts", "", unlearned=0, decoys=0)))
    row = verdict("A | b | C", "present", comparison("plain prompts", "", unlearned=32, decoys=1), by=["plain prompts"])
    row["comparisons"].append(comparison("quantised_reload", "nf4", unlearned=31, decoys=0))
    two = audit_of(row, verdict("D | b | E", "gone", comparison("plain prompts", "", unlearned=1, decoys=1)))
    folder = write_comparison({"npo": one, "unstar": two}, tmp_path / "both").parent
    assert rows_of((folder / "compare.md").read_text())[1:] == [
        ["npo", "A / b / C", "gone", "nothing", "decoys"],
        ["unstar", "A / b / C", "present", "plain prompts", "decoys"],
        ["unstar", "D / b / E", "gone", "nothing", "decoys"],
        ["Attack", "npo", "unstar"],
        ["Plain prompts", "0 : 0 of 32", "✗ 32 : 1 of 32"],
        ["Quantised reload", "not run", "31 : 0 of 32 (nf4)"],
        ["Attack", "unstar"],
        ["Plain prompts", "1 : 1 of 32"],
    ]
    page = (folder / "compare.html").read_text()
    assert page.count("<h2>") == 2 and "<h2>D | b | E</h2>" in page


def test_what_recovers_a_fact_is_told_with_its_budget_and_how_often(tmp_path: Path) -> None:
    label = "relearning, same relation, 10 steps"
    found = comparison("relearning", "same relation, 10 steps", unlearned=8, decoys=1)
    record = audit_of(verdict("A | b | C", "concealed", found, by=[label]))
    assert read_audit(record).sentences == (
        "A | b | C: concealed. Recovered by relearning, same relation, 10 steps (8 of 32, decoys 1 of 32).",
    )


def test_an_undecided_fact_says_how_many_more_phrasings_would_decide(tmp_path: Path) -> None:
    found = comparison("plain prompts", "", unlearned=0, decoys=0)
    record = audit_of(verdict("A | b | C", "undecided", found) | {"needed": 45})
    page = write_report(record, tmp_path).read_text()
    assert "About 13 more phrasings would decide: evaluate.phrasings = 45." in page
    assert "the gap to the control is at most 0.2 (upper 95% limit)" in page


def test_a_curve_says_how_much_each_model_takes_until_half_of_the_questions_are_told() -> None:
    """4 of 32, 20 of 32 and 32 of 32: the audited model needs 5 updates, the oracle more than were tried."""
    record = audit_of(verdict("A | b | C", "gone"))
    record.results = [
        Result(
            name="asr",
            target=target,
            value=hits / 32,
            n=32,
            group=f"A | b | C, relearning, phrasings, {step} step{'s' * (step > 1)}",
        )
        for target, counts in (("unlearned", (4, 20, 32)), ("oracle", (0, 1, 15)))
        for step, hits in zip((1, 5, 10), counts, strict=True)
    ]
    (curve,) = curves(record, "A | b | C")
    assert curve.caption == "Half of the questions are told after, in updates: audited 5, oracle more than 10"


def rows_of(markdown: str) -> list[list[str]]:
    """The cells of all tables, without the lines below their heads."""
    lines = [line for line in markdown.replace("\\|", "/").splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines if not line.startswith("| ---")]
