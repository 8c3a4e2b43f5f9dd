"""Intervals against values that can be worked out without the code."""

import pytest

from genunlearn.ops import intervals


def test_no_success_of_n_gives_the_closed_form():
    # Clopper-Pearson with 0 of n: high = 1 - (0.025)^(1/n); n = 10 gives 1 - 0.025^0.1 = 0.30850.
    value, low, high = intervals.share(0, 10)
    assert (value, low) == (0.0, 0.0)
    assert high == pytest.approx(1 - 0.025**0.1, abs=1e-9)


def test_share_is_symmetric():
    _, low, high = intervals.share(3, 10)
    _, mirrored_low, mirrored_high = intervals.share(7, 10)
    assert (low, high) == pytest.approx((1 - mirrored_high, 1 - mirrored_low), abs=1e-9)


def test_mean_of_equal_values_has_no_width():
    assert intervals.mean([0.25] * 7) == (0.25, 0.25, 0.25)


def test_a_mean_between_0_and_1_is_no_point_at_either_end():
    assert intervals.bounded_mean([0.0] * 5) == intervals.share(0, 5)
    assert intervals.bounded_mean([1.0] * 5) == intervals.share(5, 5)
    assert intervals.bounded_mean([0.0, 0.5, 1.0]) == intervals.mean([0.0, 0.5, 1.0])
    assert intervals.bounded_mean([0.25] * 4) == intervals.mean([0.25] * 4)


def test_mean_interval_matches_the_normal_one_for_many_values():
    # 400 values, half 0 and half 1: standard error 0.5 / 20 = 0.025, so about 0.5 -+ 0.049.
    value, low, high = intervals.mean([0.0, 1.0] * 200)
    assert value == 0.5
    assert low == pytest.approx(0.451, abs=0.006)
    assert high == pytest.approx(0.549, abs=0.006)


def test_a_harmonic_mean_of_means_by_hand():
    # Means 1/2 and 1/4 of one set, 1 of another: 3 / (2 + 4 + 1).
    value, low, high = intervals.harmonic_mean([[[0.0, 1.0], [0.5, 0.0]], [[1.0, 1.0, 1.0]]])
    assert value == pytest.approx(3 / 7)
    # Drawn together, both items of the first set are never 1 and 1/2 at once: either mean is 0 with the other's best.
    assert (low, high) == (0.0, pytest.approx(3 / 7))


def test_a_harmonic_mean_is_zero_where_one_mean_is():
    assert intervals.harmonic_mean([[[0.0, 0.0]], [[1.0]]]) == (0.0, 0.0, 0.0)


def test_same_seed_same_interval():
    assert intervals.mean([0.1, 0.9, 0.4], seed=3) == intervals.mean([0.1, 0.9, 0.4], seed=3)


def test_one_pair_gives_the_closed_form():
    # m = n = 1: V(p) = p (1 - p), so 1 - p = z sqrt(p (1 - p)) and p = 1 / (1 + z^2), z = 1.959964.
    low, high = intervals.of_pairs(1.0, 1, 1)
    assert (low, high) == (pytest.approx(1 / (1 + 1.959964**2), abs=1e-6), 1.0)


def test_a_share_of_pairs_is_symmetric_and_narrows():
    low, high = intervals.of_pairs(0.3, 6, 9)
    assert intervals.of_pairs(0.7, 9, 6) == pytest.approx((1 - high, 1 - low), abs=1e-9)
    # m = n = 200 near p = 1/2: V = (1/4) (1 + 199 (1/3 + 1/3)) / 40000 = 8.354e-4, z sqrt(V) = 0.0566.
    low, high = intervals.of_pairs(0.5, 200, 200)
    assert (0.5 - low, high - 0.5) == pytest.approx((0.0566, 0.0566), abs=1e-3)


def test_over_seeds_is_the_t_interval():
    # 1, 2, 3: mean 2, standard deviation 1, t(0.975, 2) = 4.302653; half width 4.302653 / sqrt(3).
    value, low, high = intervals.over_seeds([1.0, 2.0, 3.0])
    assert value == 2.0
    assert (low, high) == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5), abs=1e-5)


def test_one_seed_says_nothing_about_the_spread():
    assert intervals.over_seeds([0.5]) == (0.5, None, None)


def test_next_seed_is_wider_than_the_interval_of_the_mean():
    # The same three: 4.302653 sqrt(1 + 1/3).
    assert intervals.next_seed([1.0, 2.0, 3.0]) == pytest.approx(4.302653 * (4 / 3) ** 0.5, abs=1e-5)


def test_difference_of_two_shares():
    # 0.5 - 0.2; down by sqrt(0.3^2 + 0.4^2) = 0.5, up by sqrt(0.05^2 + 0.12^2) = 0.13
    assert intervals.difference((0.5, 0.2, 0.55), (0.2, 0.08, 0.6)) == pytest.approx((0.3, -0.2, 0.43))
