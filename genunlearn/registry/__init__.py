"""Lazy name tables: how one works (`table`), their lines (`methods`, `tables`), and packages of extras (`extras`)."""

from genunlearn.registry.extras import EXTRAS, explain, require
from genunlearn.registry.methods import GENERATORS, LEARNERS, METHODS, VALUATIONS
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
    "EXTRAS",
    "FAMILIES",
    "GENERATORS",
    "LAB",
    "LABS",
    "LEARNERS",
    "METHODS",
    "METRICS",
    "MOST_NAMED",
    "REPORTS",
    "RUNS",
    "SUITES",
    "VALUATIONS",
    "Line",
    "Table",
    "explain",
    "family_of",
    "owners",
    "require",
    "unknown_name",
]
