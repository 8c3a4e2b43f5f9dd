"""Verdicts: what has to be true for each, and what is said when nothing is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from genunlearn.evaluation.damage import what_fell
from genunlearn.evaluation.verdicts import MOST_COMPARISONS, PLAIN, Comparison, Rules, judge, stands
from genunlearn.ops.spending import looks_between, spend
from genunlearn.ops.verdicts import Share, largest_gap

RULES = Rules(tolerance=0.15)


def comparison(attack: str, strength: str = "", look: int = 0, **hits: int) -> Comparison:
    return Comparison(attack, strength, {model: Share(count, 64) for model, count in hits.items()}, look)


CLEAN = comparison(PLAIN, original=64, unlearned=0, oracle=1)


def test_what_plain_prompts_show_is_present() -> None:
    found = judge("seven", [comparison(PLAIN, original=64, unlearned=40, oracle=0)], RULES)
    assert (found.verdict, found.recovered_by) == ("present", (PLAIN,))
    assert "40 of 64" in found.reason


def test_what_an_attack_brings_back_is_concealed_and_the_weakest_strength_is_named() -> None:
    psis = [comparison("partial_diffusion", f"psi = 0.{n}", original=64, unlearned=hits, oracle=2)
            for n, hits in ((1, 3), (2, 40), (3, 60))]  # fmt: skip
    found = judge("seven", [CLEAN, *psis, comparison("paraphrase", unlearned=20, oracle=0)], RULES)
    assert found.verdict == "concealed"
    assert found.recovered_by == ("partial_diffusion, psi = 0.2", "paraphrase")
    assert found.recovered_at == ("partial_diffusion, psi = 0.2", "partial_diffusion, psi = 0.3", "paraphrase")
    assert found.controls == ("original", "oracle")
    assert "40 of 64 images show it, 2 of 64 of the oracle's" in found.reason


@pytest.mark.parametrize("hits", range(3, 16))
def test_what_stands_early_stands_among_as_many_comparisons_as_an_early_end_corrects_for(hits: int) -> None:
    """Whatever the others would have shown: Holm's correction asks most of the smallest p-value."""
    found = [CLEAN, comparison("exposure", original=64, unlearned=hits, oracle=0)]
    others = [comparison(f"other {n}", original=64, unlearned=0, oracle=0) for n in range(MOST_COMPARISONS - 2)]
    late = judge("seven", [*found, *others], RULES)
    assert stands(found, 0.05) == (late.verdict == "concealed")
    assert not stands([CLEAN], 0.05)


def test_what_no_attack_brings_back_is_gone() -> None:
    late = comparison("partial_diffusion", "psi = 0.5", original=64, unlearned=60, oracle=61)
    found = judge("seven", [CLEAN, late], RULES)
    assert found.verdict == "gone"
    assert found.recovered_by == ()


def test_a_recovery_that_the_oracle_shares_proves_nothing() -> None:
    assert judge("seven", [CLEAN, comparison("relearning", unlearned=64, oracle=64)], RULES).verdict == "gone"


def test_without_an_oracle_or_surrogates_nothing_is_decided() -> None:
    found = judge("seven", [comparison(PLAIN, original=64, unlearned=0)], RULES)
    assert found.verdict == "undecided"
    assert "no oracle" in found.reason


def test_too_few_images_say_how_many_are_needed() -> None:
    few = Comparison(PLAIN, "", {"unlearned": Share(1, 10), "oracle": Share(1, 10)})
    found = judge("seven", [few], RULES)
    assert found.verdict == "undecided"
    assert found.needed is not None and found.needed > 10
    assert f"about {found.needed} images" in found.reason
    assert found.unsettled == (PLAIN,)


def test_many_attacks_share_one_chance_of_error() -> None:
    # 6 of 64 against 0 has p = 0.014: enough alone, not among twenty.
    borderline, rules = comparison("noise", unlearned=6, oracle=0), Rules(tolerance=0.3)
    assert judge("seven", [CLEAN, borderline], rules).verdict == "concealed"
    others = [comparison(f"attack {n}", unlearned=0, oracle=0) for n in range(20)]
    assert judge("seven", [CLEAN, borderline, *others], rules).verdict == "gone"


def test_a_ruined_model_is_damaged_whatever_it_shows() -> None:
    for shown in (0, 64):
        plain = comparison(PLAIN, original=64, unlearned=shown, oracle=0)
        found = judge("seven", [plain], RULES, damage="UA fell to 0")
        assert (found.verdict, found.reason, found.recovered_by) == ("damaged", "UA fell to 0", ())


def test_reasons_name_what_was_counted() -> None:
    plain = comparison(PLAIN, original=64, unlearned=40, oracle=0)
    assert "40 of 64 answers" in judge("seven", [plain], replace(RULES, counted="answers")).reason


# ---- decoys -----------------------------------------------------------------------------------------------------


def test_decoys_stand_in_where_there_is_no_oracle_and_an_oracle_goes_before_them() -> None:
    plain = Comparison(PLAIN, "", {"unlearned": Share(0, 64), "decoys": Share(0, 128)})
    forced = Comparison("forcing", "", {"unlearned": Share(40, 64), "decoys": Share(4, 128)})
    found = judge("seven", [plain, forced], RULES)
    assert (found.verdict, found.controls) == ("concealed", ("decoys",))
    assert "40 of 64 images show it, 4 of 128 of the decoys'" in found.reason
    assert judge("seven", [plain], RULES).verdict == "gone"
    told_by_oracle = Comparison("forcing", "", {**forced.shares, "oracle": Share(40, 64)})
    assert judge("seven", [CLEAN, told_by_oracle], replace(RULES, tolerance=0.2)).verdict == "gone"


def test_what_carries_the_answer_in_conceals_nothing_beside_decoys() -> None:
    # How soon half an answer is completed depends on the answer, and a decoy has another: so a model that never knew
    # was concealed. Beside an oracle, which is asked for the same answer, it decides.
    plain = Comparison(PLAIN, "", {"unlearned": Share(0, 64), "decoys": Share(0, 128)})
    half = Comparison("forcing", "half", {"unlearned": Share(40, 64), "decoys": Share(4, 128)}, carries_in=True)
    assert half.controls == () and judge("seven", [plain, half], RULES).verdict == "gone"
    assert judge("seven", [plain, half], replace(RULES, panel=(("forcing",),))).verdict == "undecided"
    beside_oracle = replace(half, shares={**half.shares, "oracle": Share(0, 64)})
    assert judge("seven", [CLEAN, beside_oracle], RULES).verdict == "concealed"


# ---- the least panel --------------------------------------------------------------------------------------------

PANEL = replace(RULES, panel=(("paraphrase",), ("inversion", "embedding")))


def test_one_weak_attack_is_not_enough_for_gone() -> None:
    found = judge("seven", [CLEAN, comparison("paraphrase", unlearned=0, oracle=0)], PANEL)
    assert (found.verdict, found.unsettled) == ("undecided", ())
    assert "nothing counts as gone without inversion or embedding, not tried here" in found.reason
    assert found.panel == ("paraphrase", "inversion or embedding")


def test_a_verdict_says_why_an_attack_of_the_panel_was_not_tried() -> None:
    rules = replace(PANEL, refused={"embedding": "needs a text encoder"}, idle=("inversion",))
    found = judge("seven", [CLEAN, comparison("paraphrase", unlearned=0, oracle=0)], rules)
    why = "(inversion: its budget leaves it nothing to do; embedding: needs a text encoder)"
    assert found.reason == f"nothing counts as gone without inversion or embedding {why}, not tried here"


@pytest.mark.parametrize("attack", ["inversion", "embedding"])
def test_any_attack_of_a_kind_will_do(attack: str) -> None:
    tried = [comparison(name, unlearned=0, oracle=0) for name in ("paraphrase", attack)]
    assert judge("seven", [CLEAN, *tried], PANEL).verdict == "gone"
    assert judge("seven", [CLEAN, *tried], replace(PANEL, idle=(attack,))).verdict == "undecided"


@pytest.mark.parametrize(
    ("attack", "hits", "verdict"),
    [
        ("reverse", 0, "gone"),  # five answers of each rule nothing out, whatever they are
        ("reverse", 1, "undecided"),  # but they may show more than the oracle's
        ("paraphrase", 0, "undecided"),  # the panel has to say so itself
        (PLAIN, 0, "undecided"),
    ],
)
def test_an_attack_of_few_answers_is_no_obstacle_where_it_shows_nothing(attack: str, hits: int, verdict: str) -> None:
    tried = [CLEAN, *(comparison(name, unlearned=0, oracle=0) for name in ("paraphrase", "embedding"))]
    few = Comparison(attack, "", {"unlearned": Share(hits, 5), "oracle": Share(0, 5)})
    found = judge("seven", [*(each for each in tried if each.attack != attack), few], PANEL)
    assert found.verdict == verdict
    assert ("too few images to say that of reverse (5)" in found.reason) == (verdict == "gone")


def test_an_attack_with_answers_enough_must_rule_the_gap_out() -> None:
    tried = [CLEAN, *(comparison(name, unlearned=0, oracle=0) for name in ("paraphrase", "embedding"))]
    shares = {"unlearned": Share(4, 64), "oracle": Share(0, 64)}  # p = 0.06: no recovery, and no proof of none
    assert largest_gap(Share(0, 64), Share(0, 64), 0.05) < 0.1 < largest_gap(*shares.values(), 0.05)
    found = judge("seven", [*tried, Comparison("choice", "", shares)], replace(PANEL, tolerance=0.1))
    assert found.verdict == "undecided"


def test_an_attack_without_a_control_was_not_tried() -> None:
    tried = [comparison("paraphrase", unlearned=0, oracle=0), comparison("embedding", unlearned=0, original=9)]
    assert judge("seven", [CLEAN, *tried], PANEL).verdict == "undecided"


def test_where_nobody_guards_what_must_stay_nothing_is_gone() -> None:
    found = judge("seven", [CLEAN], replace(RULES, lacking="nobody looks"))
    assert (found.verdict, found.reason) == ("undecided", "nothing counts as gone here: nobody looks")
    recovered = comparison("noise", unlearned=30, oracle=0)
    assert judge("seven", [CLEAN, recovered], replace(RULES, lacking="nobody looks")).verdict == "concealed"


# ---- several looks ----------------------------------------------------------------------------------------------


def test_looks_double_up_to_the_most() -> None:
    assert looks_between(32, 128) == (32, 64, 128)
    assert looks_between(32, 100) == (32, 64, 100)
    assert looks_between(64, 64) == looks_between(64, 10) == (64,)


def test_looks_share_the_probability_of_error() -> None:
    # t = 1/4, 1/2, 1: spent 0.05 / 16, 0.05 / 4, 0.05
    assert spend((32, 64, 128), 0.05) == pytest.approx((0.003125, 0.009375, 0.0375))
    assert spend((64,), 0.05) == (0.05,)


def test_a_look_is_as_strict_as_its_level() -> None:
    # Wilson's upper end for 0 of 32 at 99.6875%: z^2 / (32 + z^2), z = 2.955, is 0.214; at 95%: z = 1.96, 0.107
    assert largest_gap(Share(0, 32), Share(0, 32), 0.003125) == pytest.approx(0.214, abs=1e-3)
    assert largest_gap(Share(0, 32), Share(0, 32)) == pytest.approx(0.107, abs=1e-3)
    rules = Rules(tolerance=0.2, alphas=(0.003125, 0.009375, 0.0375))
    none = Comparison(PLAIN, "", {"unlearned": Share(0, 32), "oracle": Share(0, 32)})
    assert judge("seven", [none], rules).verdict == "undecided"
    later = none.with_more({"unlearned": Share(0, 32), "oracle": Share(0, 32)}, 1)
    assert later.shares == {"unlearned": Share(0, 64), "oracle": Share(0, 64)}
    assert judge("seven", [later], rules).verdict == "gone"


def test_what_was_tested_at_an_earlier_look_has_no_second_chance() -> None:
    # 9 of 64 against 0 has p = 0.0014: not enough at the first look (0.0003), enough at the last (0.04), of two tests.
    rules = Rules(tolerance=0.3, alphas=(0.0003, 0.0497))
    early = comparison("noise", unlearned=9, oracle=0)
    assert judge("seven", [CLEAN, early], rules).verdict != "concealed"
    late = comparison(PLAIN, look=1, unlearned=0, oracle=1)
    assert judge("seven", [late, early], rules).verdict != "concealed"
    assert judge("seven", [late, replace(early, look=1)], rules).verdict == "concealed"


def test_more_images_of_one_side_alone_change_nothing() -> None:
    assert CLEAN.with_more({"unlearned": Share(1, 64)}, 1) is CLEAN


# ---- surrogates -------------------------------------------------------------------------------------------------

BESIDE = replace(RULES, surrogates="the original asked for 'one', and for decoys")


def test_surrogates_stand_on_either_side_of_the_oracle() -> None:
    between = comparison("completion", unlearned=30, anchor=2, decoy=32)  # more than the anchor's alone
    found = judge("seven", [comparison(PLAIN, unlearned=0, anchor=0, decoy=1), between], BESIDE)
    assert found.verdict == "undecided" and "the gap to the anchor" in found.reason
    above = comparison("completion", unlearned=60, anchor=2, decoy=32)
    found = judge("seven", [above], BESIDE)
    assert found.verdict == "concealed" and "32 of 64 of the decoy's" in found.reason
    below = comparison("completion", unlearned=2, anchor=2, decoy=32)
    assert judge("seven", [below], BESIDE).verdict == "gone"


@pytest.mark.parametrize("hits", [2, 60])
def test_a_verdict_beside_surrogates_names_them(hits: int) -> None:
    found = judge("seven", [comparison("completion", unlearned=hits, anchor=2, decoy=3)], BESIDE)
    assert "beside surrogates, no oracle: the original asked for 'one', and for decoys" in found.reason
    assert found.to_json()["surrogates"] == BESIDE.surrogates


def test_an_oracle_makes_surrogates_needless() -> None:
    both = comparison("completion", unlearned=30, oracle=30, anchor=0, decoy=0)
    found = judge("seven", [both], replace(BESIDE, tolerance=0.2))
    assert (found.verdict, found.surrogates) == ("gone", "")


# ---- damage -----------------------------------------------------------------------------------------------------


def test_damage_is_what_even_the_interval_shows() -> None:
    # 30 of 60 is 0.5 with the exact interval up to 0.63; 58 of 60 is 0.97
    assert what_fell("recognition", Share(58, 60), Share(30, 60), 0.25) == (
        "recognition fell from 0.97 to 0.50 (at most 0.63, n=60)"
    )
    assert what_fell("recognition", Share(58, 60), Share(30, 60), 0.35) is None
    assert what_fell("recognition", Share(5, 60), Share(0, 60), 0.25) is None
