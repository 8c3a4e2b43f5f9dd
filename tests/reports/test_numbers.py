"""Numbers are never rounded into something better, and what was not measured says why."""

from __future__ import annotations

import pytest

from genunlearn.records import Result
from genunlearn.reports.numbers import (
    format_bytes,
    format_counts,
    format_estimate,
    format_number,
    format_seconds,
    format_share,
    format_time,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.00"),
        (-0.0, "0.00"),
        (1.0, "1.00"),
        (0.9999999999999999, "1.00"),
        (0.958333, "0.96"),
        (0.998, "0.998"),
        (0.99996, ">0.999"),
        (0.004, "0.004"),
        (0.00002, "<0.001"),
        (-0.25, "-0.25"),
        (-0.00002, "-2.0e-05"),
        (3.414, "3.41"),
        (9.999, "10.0"),
        (41.26, "41.3"),
        (1234.4, "1,234"),
        (2.5e9, "2.50e+09"),
        (float("inf"), "inf"),
    ],
)
def test_values_keep_the_digits_that_matter(value: float, text: str) -> None:
    assert format_number(value) == text


def test_an_estimate_carries_interval_and_n() -> None:
    result = Result(name="recall", target="unlearned", value=46 / 48, low=0.857, high=0.9951, n=48)
    assert format_estimate(result) == "0.96 [0.86, 0.995] (n=48)"


def test_an_estimate_without_interval_still_carries_n() -> None:
    assert format_estimate(Result(name="recall", target="x", value=0.5, n=1200)) == "0.50 (n=1,200)"


def test_what_was_not_measured_says_why() -> None:
    skipped = Result(name="recall", target="oracle", value=None, skipped="evaluate.oracle = never")
    assert format_estimate(skipped) == "not measured: evaluate.oracle = never"
    assert format_estimate(None) == "not measured: the record holds no such result"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.416, "0.42 s"),
        (4.21, "4.2 s"),
        (59.96, "1 min 0 s"),
        (192, "3 min 12 s"),
        (3599.9, "1 h 0 min"),
        (7500, "2 h 5 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_sizes_shares_counts_and_times() -> None:
    assert [format_bytes(size) for size in (0, 812, 2048, 913.4 * 2**20)] == ["0 B", "812 B", "2.0 KiB", "913.4 MiB"]
    assert [format_share(part, 1000) for part in (0.2, 31, 104)] == ["0.02%", "3.1%", "10%"]
    assert format_counts({"too_short": 1, "tells_the_truth": 4, "never": 0}) == "tells the truth 4, too short 1"
    assert format_time("2025-11-21T09:14:03Z") == "2025-11-21 09:14 UTC"
    assert format_time("yesterday") == "yesterday"
