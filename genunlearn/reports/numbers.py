"""How numbers are written: a value, its 95% interval and n, and nothing that was not measured.

Rounding never turns an imperfect score into a perfect one: 0.998 stays 0.998, 0.9999 becomes ``>0.999``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime

from genunlearn.records import Result

MISSING = "not measured"
UNRECORDED = "the record holds no such result"

_BINARY_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def format_number(value: float) -> str:
    """`value` in as few digits as keep it honest: ``0.96``, ``0.998``, ``<0.001``, ``12.3``, ``1,234``."""
    if not math.isfinite(value):
        return str(value)
    value = round(value, 9)  # interval ends such as 0.9999999999999999 are 1
    size = abs(value)
    if size > 1:
        return _format_large(value)
    short, long = f"{value:.2f}", f"{value:.3f}"
    if short.lstrip("-") not in ("0.00", "1.00") or size in (0, 1):
        return short.replace("-0.00", "0.00")
    if long.lstrip("-") not in ("0.000", "1.000"):
        return long
    if value < 0:
        return f"{value:.1e}" if size < 0.5 else f"{value:.6f}"
    return "<0.001" if size < 0.5 else ">0.999"


def _format_large(value: float) -> str:
    """A value beyond 1 in three digits, or in all digits before the point where there are more."""
    size = abs(value)
    if size < 9.995:
        return f"{value:.2f}"
    if size < 99.95:
        return f"{value:.1f}"
    return f"{value:,.0f}" if size < 1e7 else f"{value:.2e}"


def format_interval(result: Result) -> str:
    """The 95% interval, ``[0.90, 0.99]``; empty where the record has none."""
    if result.low is None or result.high is None:
        return ""
    return f"[{format_number(result.low)}, {format_number(result.high)}]"


def estimate_of(result: Result | None) -> tuple[float, float, float] | None:
    """A measured value with the ends of its interval; None where one of them lacks."""
    if result is None or result.value is None or result.low is None or result.high is None:
        return None
    return result.value, result.low, result.high


def format_estimate(result: Result | None, *, with_n: bool = True) -> str:
    """``0.96 [0.90, 0.99] (n=48)``, or ``not measured: reason``."""
    if result is None or result.value is None:
        return f"{MISSING}: {why_missing(result)}"
    size = f"(n={result.n:,})" if with_n else ""
    return " ".join(part for part in (format_number(result.value), format_interval(result), size) if part)


def why_missing(result: Result | None) -> str:
    """Why there is no value, in the words of the record."""
    if result is None:
        return UNRECORDED
    return result.skipped or "the record gives no reason"


def format_seconds(seconds: float) -> str:
    """A duration: ``0.42 s``, ``4.2 s``, ``3 min 12 s``, ``2 h 5 min``."""
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours:,} h {minutes} min"


def format_time(stamp: str) -> str:
    """An ISO 8601 time of a record to the minute: ``2025-11-21 09:14 UTC``; other text as it is."""
    try:
        return datetime.fromisoformat(stamp).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return stamp


def format_bytes(size: float) -> str:
    """A size in binary units: ``812 B``, ``12.3 MiB``."""
    power = min(int(math.log(size, 1024)), len(_BINARY_UNITS) - 1) if size >= 1 else 0
    return f"{size:,.0f} B" if power == 0 else f"{size / 1024**power:.1f} {_BINARY_UNITS[power]}"


def format_share(part: float, whole: float) -> str:
    """``part / whole`` as a percentage with the digits that it deserves: ``3.1%``, ``0.02%``."""
    share = 100 * part / whole
    return f"{share:.0f}%" if share >= 10 else f"{share:.2g}%"


def format_counts(counts: Mapping[str, int]) -> str:
    """``tells the truth 4, too short 1``: reasons with their counts, most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{reason.replace('_', ' ')} {count:,}" for reason, count in ordered if count)
