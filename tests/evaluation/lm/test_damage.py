"""When what must stay counts as ruined."""

from __future__ import annotations

from genunlearn.evaluation.lm.damage import what_fell


def told(**counts: tuple[int, int]) -> dict[str, list[bool]]:
    return {group: [True] * hits + [False] * (n - hits) for group, (hits, n) in counts.items()}


def test_damage_is_certain_and_counts_what_must_stay_alone() -> None:
    before = told(forget=(10, 10), rest=(100, 100))
    # 60 of 100: at most 0.70 by the exact interval, more than 0.25 below 1; 80 of 100 may be as much as 0.87
    found = what_fell(before, told(forget=(0, 10), rest=(60, 100)), 0.25)
    assert found == "recall of what must stay fell from 1.00 to 0.60 (at most 0.70, n=100)"
    assert what_fell(before, told(forget=(0, 10), rest=(80, 100)), 0.25) is None


def test_few_questions_are_no_certainty_and_none_no_damage() -> None:
    assert what_fell(told(rest=(2, 2)), told(rest=(1, 2)), 0.25) is None  # one of two: at most 0.99
    assert what_fell(told(forget=(4, 4)), told(forget=(0, 4)), 0.25) is None


def test_groups_without_a_role_stand_in_where_no_group_must_stay() -> None:
    before, after = told(forget=(4, 4), two_hop_through=(40, 40)), told(forget=(0, 4), two_hop_through=(0, 40))
    assert "to 0.00" in (what_fell(before, after, 0.25) or "")
    assert what_fell(before | told(rest=(40, 40)), after | told(rest=(40, 40)), 0.25) is None
