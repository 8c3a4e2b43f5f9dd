"""Comparing shares, by hand."""

from __future__ import annotations

from math import comb, log, sqrt

import pytest

from genunlearn.ops.verdicts import Share, combined_p, holm, images_needed, is_larger_p, largest_gap


def test_fisher_s_test_counts_tables() -> None:
    # 3 of 4 against 1 of 4: tables with the same sums and at least 3 hits in the first row.
    ways = comb(4, 3) * comb(4, 1) + comb(4, 4) * comb(4, 0)
    assert is_larger_p(Share(3, 4), Share(1, 4)) == pytest.approx(ways / comb(8, 4))
    assert is_larger_p(Share(1, 4), Share(3, 4)) > 0.5


def test_holm_multiplies_by_what_is_left_and_never_falls() -> None:
    assert holm([0.03, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_largest_gap_is_newcombe_s() -> None:
    # Newcombe 1998, table II, example (a): 56/70 - 48/80, method 10, upper limit 0.3339.
    assert largest_gap(Share(56, 70), Share(48, 80)) == pytest.approx(0.3339, abs=1e-4)
    z2 = 1.959964**2
    assert largest_gap(Share(0, 64), Share(0, 64)) == pytest.approx(sqrt((z2 / (64 + z2)) ** 2), abs=1e-5)


def test_how_many_images_would_do() -> None:
    needed = images_needed(Share(2, 16), Share(2, 16), 0.15)
    assert needed is not None
    n, tenth = needed, round(needed / 8)
    assert largest_gap(Share(tenth, n), Share(tenth, n)) <= 0.15
    assert images_needed(Share(8, 16), Share(2, 16), 0.15) is None


def test_probabilities_are_combined_by_hand() -> None:
    # -2 (ln 0.5 + ln 0.5) = 2.773 with four degrees: x (1 - ln x) for x = 0.25, which is 0.25 (1 + 1.3863) = 0.5966
    assert combined_p([0.5, 0.5]) == pytest.approx(0.25 * (1 - log(0.25)))
    assert combined_p([0.3]) == pytest.approx(0.3)
    # the truth first among 84 for each of three facts, and in the middle for each of three
    assert combined_p([1 / 84] * 3) < 0.001 < 0.4 < combined_p([0.5] * 3)
