"""Several audits side by side: what stands in a cell, from records written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from genunlearn.records import COMPLETED, RunRecord
from genunlearn.reports.audit.report import write_comparison


def comparison(attack: str, strength: str, *, unlearned: int, decoys: int, **more: Any) -> dict[str, Any]:
    shares = {"unlearned": {"shown": unlearned, "n": 32}, "decoys": {"shown": decoys, "n": 32}}
    return {"attack": attack, "strength": strength, "shares": shares, **more}


def test_cells_show_the_widest_gap_to_a_control_and_nothing_beside_decoys_that_they_are_no_control_of(
    tmp_path: Path,
) -> None:
    """Half of the answer brings out 30 of 32, but decoys have another answer: the opening's 5 to 1 is what counts."""
    row = {
        "concept": "A | b | C",
        "verdict": "concealed",
        "reason": "r",
        "recovered_by": ["prefix_forcing, affirmative opening"],
        "controls": ["decoys"],
        "comparisons": [
            comparison("plain prompts", "", unlearned=0, decoys=0),
            comparison("prefix_forcing", "affirmative opening", unlearned=5, decoys=1),
            comparison("prefix_forcing", "half of the answer", unlearned=30, decoys=0, carries_in=True),
            comparison("relearning", "phrasings, 1 step", unlearned=20, decoys=0, carries_in=True),
        ],
    }
    config = {"task": "audit", "domain": "lm", "evaluate": {"tolerance": 0.2}}
    record = RunRecord(status=COMPLETED, config=config, request={"concepts": ["A | b | C"]}, verdicts=[row])
    text = (write_comparison({"npo": record}, tmp_path / "both").parent / "compare.md").read_text()
    cells = [cell.strip() for cell in text.replace("\\|", "/").splitlines()[-1].strip("| ").split(" | ")]
    assert cells == [
        "npo",
        "A / b / C",
        "concealed",
        "prefix forcing, affirmative opening",
        "0 : 0 of 32",
        "5 : 1 of 32 (affirmative opening)",
        "20 of 32 (phrasings, 1 step)",
    ]
