"""What rooms promise each other: data of a request, models, methods, metrics, attacks, families."""

from genunlearn.contracts.best import ADVICE, BestWeights, floor_of
from genunlearn.contracts.data import Batch, Examples, Reduction, Splits, Term, Terms, with_sides
from genunlearn.contracts.measures import (
    ORACLE,
    ORIGINAL,
    UNLEARNED,
    Attack,
    Beside,
    Estimate,
    Metric,
    Suite,
    within,
)
from genunlearn.contracts.methods import (
    STRICT,
    Edit,
    EditReport,
    Journal,
    Method,
    Needs,
    Objective,
    Outcome,
    Protocol,
    Train,
)
from genunlearn.contracts.model import Domain, LabelledDomain, Reference

__all__ = [
    "ADVICE",
    "ORACLE",
    "ORIGINAL",
    "STRICT",
    "UNLEARNED",
    "Attack",
    "Batch",
    "Beside",
    "BestWeights",
    "Domain",
    "Edit",
    "EditReport",
    "Estimate",
    "Examples",
    "Journal",
    "LabelledDomain",
    "Method",
    "Metric",
    "Needs",
    "Objective",
    "Outcome",
    "Protocol",
    "Reduction",
    "Reference",
    "Splits",
    "Suite",
    "Term",
    "Terms",
    "Train",
    "floor_of",
    "with_sides",
    "within",
]
