"""Intervals against values that can be worked out without the code."""

import pytest

from genunlearn.evaluation import intervals


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


def test_mean_interval_matches_the_normal_one_for_many_values():
    # 400 values, half 0 and half 1: standard error 0.5 / 20 = 0.025, so about 0.5 -+ 0.049.
    value, low, high = intervals.mean([0.0, 1.0] * 200)
    assert value == 0.5
    assert low == pytest.approx(0.451, abs=0.006)
    assert high == pytest.approx(0.549, abs=0.006)


def test_same_seed_same_interval():
    assert intervals.mean([0.1, 0.9, 0.4], seed=3) == intervals.mean([0.1, 0.9, 0.4], seed=3)
