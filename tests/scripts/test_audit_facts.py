"""The tables of `scripts/bench/audit_facts.py`, from records whose verdicts are worked out by hand."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from genunlearn.records import RunRecord

BENCH = Path(__file__).parents[2] / "scripts" / "bench"
TRIED = ("plain prompts", "sampling", "prefix_forcing", "relearning", "exposure")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module; it finds its neighbours as it does when it is run."""
    monkeypatch.syspath_prepend(str(BENCH))
    import audit_facts

    return audit_facts


def record(**exposure: int) -> RunRecord:
    """Nothing is told of 32 phrasings but under exposure, and there by each model as often as is said."""
    rows = [
        {
            "attack": attack,
            "strength": "",
            "shares": {name: {"shown": hits * (attack == "exposure"), "n": 32} for name, hits in exposure.items()},
        }
        for attack in TRIED
    ]
    found = {"concept": "A | b | C", "verdict": "concealed", "recovered_by": ["exposure"], "comparisons": rows}
    return RunRecord(config={"evaluate": {"tolerance": 0.2}}, request={"questions": 32}, verdicts=[found])


def test_the_verdict_beside_decoys_leaves_the_oracle_out(script: ModuleType) -> None:
    """12 of 32 are far more than the oracle's 0, and fewer than the 32 of decoys; 0 of 32 leave a gap of 0.11."""
    records = {("f", "npo"): record(original=32, unlearned=12, oracle=0, decoys=32)}
    assert script.verdicts(records).splitlines()[-1] == "| f | npo | concealed | exposure | gone |"
    assert script.shares(records).splitlines()[-1] == "| exposure | 32/32 | 12/32 | 0/32 | 32/32 |"


def test_what_carries_the_answer_in_decides_nothing_beside_decoys(script: ModuleType) -> None:
    """Half of the answer brings out 30 of 32, and 0 of the decoy, whose answer is another: the oracle says the same."""
    found = record(unlearned=0, oracle=0, decoys=0)
    shares = {"unlearned": {"shown": 30, "n": 32}, "oracle": {"shown": 30, "n": 32}, "decoys": {"shown": 0, "n": 32}}
    row = {"attack": "prefix_forcing", "strength": "half", "shares": shares}
    found.verdicts[0]["comparisons"].append(row)
    assert script.beside_decoys(found, found.verdicts[0]) == "concealed"
    row["carries_in"] = True
    assert script.beside_decoys(found, found.verdicts[0]) == "gone"


def test_without_an_oracle_the_only_verdict_is_the_one_beside_decoys(script: ModuleType) -> None:
    lines = script.verdicts({("f", "npo"): record(unlearned=12, decoys=0)}).splitlines()
    assert lines[0] == "| fact | method | beside decoys | recovered by |"
    assert lines[-1] == "| f | npo | concealed | exposure |"
    table = script.shares({("f", "npo"): record(original=32, unlearned=12, decoys=0)}).splitlines()
    assert table[0] == "| attack | original | npo | decoys |"


def test_without_decoys_there_is_no_column_of_them(script: ModuleType) -> None:
    """Of two facts, 12 of 32 and 20 of 32, the mean is 0.5."""
    records = {("f", "npo"): record(unlearned=12, oracle=0), ("g", "npo"): record(unlearned=20, oracle=0)}
    assert script.verdicts(records).splitlines()[-1] == "| g | npo | concealed | exposure |"
    attack, original, npo, oracle = script.shares(records).splitlines()[-1].strip("| ").split(" | ")
    assert (attack, original, npo[:5], oracle) == ("exposure", "-", "0.50 ", "0.00 [0.00, 0.00]")


def test_a_fact_that_the_oracle_tells_is_named_as_left_out(script: ModuleType) -> None:
    said = script.said({("f", "npo"): record(unlearned=0, oracle=0)}, ["g"])
    assert said == "1 fact (f), 32 phrasings each. Left out, since the oracle tells it: g."


def test_an_attack_that_was_left_out_on_some_facts_has_no_share(script: ModuleType) -> None:
    """The facts on which it was tried are those that nothing before it had decided."""
    whole, cut = record(unlearned=12, oracle=0), record(unlearned=20, oracle=0)
    cut.verdicts[0]["comparisons"] = [row for row in cut.verdicts[0]["comparisons"] if row["attack"] != "exposure"]
    rows = script.shares({("f", "npo"): whole, ("g", "npo"): cut}).splitlines()
    assert rows[-1] == "| relearning | - | 0.00 [0.00, 0.00] | 0.00 [0.00, 0.00] |"
    mixed = {("f", "npo"): whole, ("g", "npo"): cut, ("f", "ssd"): whole, ("g", "ssd"): whole}
    assert script.shares(mixed).splitlines()[-1].startswith("| exposure | - | - | 0.38 [0.38, 0.38] |")


def test_of_many_audits_each_method_has_one_line(script: ModuleType) -> None:
    """12 of 32 stand out from the oracle's 0, and do not from the decoys' 32."""
    audits = {(fact, "npo"): record(unlearned=12, oracle=0, decoys=32) for fact in "fg"}
    told = "0.00 [0.00, 0.00]"
    *_, npo, decoys = script.by_method(audits).splitlines()
    assert npo == f"| npo | {told} | concealed 2 | gone 2 | exposure 2 |"
    assert decoys.startswith(f"| decoys | {told} |")
    for found in audits.values():  # where an audit ended beside the oracle, nobody knows what decoys would have shown
        found.config["evaluate"]["until"] = "decided"
    assert "| concealed 2 | open 2 |" in script.by_method(audits)
