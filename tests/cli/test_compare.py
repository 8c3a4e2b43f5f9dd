"""Finished runs side by side: whatever their folders are called, none takes another's place."""

from __future__ import annotations

from pathlib import Path

from genunlearn.records import COMPLETED, RunRecord


def audited(folder: Path, verdict: str) -> Path:
    """The record of an audit that has ended."""
    found = {"unlearned": {"shown": 0, "n": 32}, "oracle": {"shown": 0, "n": 32}}
    row = {"concept": "A | b | C", "verdict": verdict, "reason": "r", "recovered_by": [], "controls": ["oracle"]}
    RunRecord(
        status=COMPLETED,
        config={"task": "audit", "domain": "lm", "evaluate": {"tolerance": 0.2}},
        request={"concepts": ["A | b | C"]},
        verdicts=[row | {"comparisons": [{"attack": "plain prompts", "strength": "", "shares": found}]}],
    ).write(folder)
    return folder


def test_audits_that_lie_in_folders_of_one_name_are_all_compared(call, workplace: Path) -> None:
    folders = [audited(workplace / name / "audit", said) for name, said in (("npo", "gone"), ("unstar", "undecided"))]
    done = call("compare", *folders, "--out", "both")
    assert done.code == 0, done.err
    rows = [line for line in (workplace / "both" / "compare.md").read_text().splitlines() if "A \\| b" in line]
    assert [row.split(" | ")[0] for row in rows if row.startswith("|")] == ["| npo/audit", "| unstar/audit"]


def test_a_folder_that_is_named_twice_is_compared_once(call, workplace: Path) -> None:
    folder = audited(workplace / "npo", "gone")
    done = call("compare", folder, workplace / "." / "npo", "--out", "both")
    assert "Comparison of 1 run" in (workplace / "both" / "compare.html").read_text(), done.err
