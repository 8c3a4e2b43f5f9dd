"""Verdicts: what has to be true for each, and what is said when nothing is."""

from __future__ import annotations

from genunlearn.evaluation.verdicts import PLAIN, Comparison, judge
from genunlearn.ops.verdicts import Share


def comparison(attack: str, strength: str = "", **hits: int) -> Comparison:
    return Comparison(attack, strength, {model: Share(count, 64) for model, count in hits.items()})


CLEAN = comparison(PLAIN, original=64, unlearned=0, oracle=1)


def test_what_plain_prompts_show_is_present() -> None:
    found = judge("seven", [comparison(PLAIN, original=64, unlearned=40, oracle=0)], 0.15)
    assert (found.verdict, found.recovered_by) == ("present", (PLAIN,))
    assert "40 of 64" in found.reason


def test_what_an_attack_brings_back_is_concealed_and_the_weakest_strength_is_named() -> None:
    psis = [comparison("partial_diffusion", f"psi = 0.{n}", original=64, unlearned=hits, oracle=2)
            for n, hits in ((1, 3), (2, 40), (3, 60))]  # fmt: skip
    found = judge("seven", [CLEAN, *psis, comparison("paraphrase", unlearned=20, oracle=0)], 0.15)
    assert found.verdict == "concealed"
    assert found.recovered_by == ("partial_diffusion, psi = 0.2", "paraphrase")
    assert found.controls == ("original", "oracle")
    assert "40 of 64 images show it, 2 of 64 of the oracle's" in found.reason


def test_what_no_attack_brings_back_is_gone() -> None:
    late = comparison("partial_diffusion", "psi = 0.5", original=64, unlearned=60, oracle=61)
    found = judge("seven", [CLEAN, late], 0.15)
    assert found.verdict == "gone"
    assert found.recovered_by == ()


def test_a_recovery_that_the_oracle_shares_proves_nothing() -> None:
    assert judge("seven", [CLEAN, comparison("relearning", unlearned=64, oracle=64)], 0.15).verdict == "gone"


def test_without_an_oracle_nothing_is_decided() -> None:
    found = judge("seven", [comparison(PLAIN, original=64, unlearned=0)], 0.15)
    assert found.verdict == "undecided"
    assert "no oracle" in found.reason


def test_too_few_images_say_how_many_are_needed() -> None:
    few = Comparison(PLAIN, "", {"unlearned": Share(1, 10), "oracle": Share(1, 10)})
    found = judge("seven", [few], 0.15)
    assert found.verdict == "undecided"
    assert found.needed is not None and found.needed > 10
    assert f"about {found.needed} images" in found.reason


def test_many_attacks_share_one_chance_of_error() -> None:
    # 6 of 64 against 0 has p = 0.014: enough alone, not among twenty.
    borderline = comparison("noise", unlearned=6, oracle=0)
    assert judge("seven", [CLEAN, borderline], 0.3).verdict == "concealed"
    others = [comparison(f"attack {n}", unlearned=0, oracle=0) for n in range(20)]
    assert judge("seven", [CLEAN, borderline, *others], 0.3).verdict == "gone"


def test_a_ruined_model_is_damaged_whatever_it_shows() -> None:
    for shown in (0, 64):
        found = judge("seven", [comparison(PLAIN, original=64, unlearned=shown, oracle=0)], 0.15, damage="UA fell to 0")
        assert (found.verdict, found.reason, found.recovered_by) == ("damaged", "UA fell to 0", ())


def test_reasons_name_what_was_counted() -> None:
    plain = comparison(PLAIN, original=64, unlearned=40, oracle=0)
    assert "40 of 64 answers" in judge("seven", [plain], 0.15, counted="answers").reason


def test_decoys_stand_in_where_there_is_no_oracle_and_an_oracle_goes_before_them() -> None:
    plain = Comparison(PLAIN, "", {"unlearned": Share(0, 64), "decoys": Share(0, 128)})
    forced = Comparison("forcing", "", {"unlearned": Share(40, 64), "decoys": Share(4, 128)})
    found = judge("seven", [plain, forced], 0.15)
    assert (found.verdict, found.controls) == ("concealed", ("decoys",))
    assert "40 of 64 images show it, 4 of 128 of the decoys'" in found.reason
    assert judge("seven", [plain], 0.15).verdict == "gone"
    told_by_oracle = Comparison("forcing", "", {**forced.shares, "oracle": Share(40, 64)})
    assert judge("seven", [CLEAN, told_by_oracle], 0.2).verdict == "gone"


def test_gone_asks_for_the_least_panel_with_a_control() -> None:
    alone = Comparison("relearning", "", {"unlearned": Share(0, 64)})
    found = judge("seven", [CLEAN, alone], 0.15, least={"relearning": None, "sampling": None})
    assert (found.verdict, found.needed) == ("undecided", None)
    assert "gone also asks for relearning, sampling" in found.reason
    both = [comparison(name, unlearned=0, oracle=0) for name in ("relearning", "sampling")]
    assert judge("seven", [CLEAN, *both], 0.15, least={"relearning": None, "sampling": None}).verdict == "gone"
    recovered = comparison("forcing", unlearned=40, oracle=0)
    assert judge("seven", [CLEAN, recovered], 0.15, least={"sampling": None}).verdict == "concealed"
    packed = judge("seven", [CLEAN], 0.15, least={"relearning": "quantised weights take no updates"})
    assert packed.verdict == "gone" and packed.reason.endswith(
        "relearning could not be tried: quantised weights take no updates"
    )
