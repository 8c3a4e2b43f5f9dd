"""Lazy name tables: how one works (`table`), and every line of them (`tables`)."""

from genunlearn.registry.table import MOST_NAMED, Line, Table, unknown_name
from genunlearn.registry.tables import (
    ATTACKS,
    AUDITS,
    BENCHMARKS,
    CONFIGS,
    DOMAINS,
    FAMILIES,
    LAB,
    LABS,
    METHODS,
    METRICS,
    REPORTS,
    RUNS,
    SUITES,
    family_of,
    owners,
)

__all__ = [
    "ATTACKS",
    "AUDITS",
    "BENCHMARKS",
    "CONFIGS",
    "DOMAINS",
    "FAMILIES",
    "LAB",
    "LABS",
    "METHODS",
    "METRICS",
    "MOST_NAMED",
    "REPORTS",
    "RUNS",
    "SUITES",
    "Line",
    "Table",
    "family_of",
    "owners",
    "unknown_name",
]
