"""What attacks on classifiers and regressors know besides the data of a request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from genunlearn.contracts import Splits
from genunlearn.domains.network.base import LabelledItem, NetworkDomain


@dataclass(frozen=True, kw_only=True)
class AttackContext:
    """What is known besides the data of a request; it stands in ``Splits.context``.

    Attributes:
        test: Test items of every kind; ``Splits.holdout`` are those of the forget set's kind.
        references: Networks that saw neither the forget set nor the holdout, for RMIA; without any, the oracles serve.
    """

    test: Sequence[LabelledItem] = ()
    references: tuple[NetworkDomain, ...] = ()


def context_of(splits: Splits[AttackContext]) -> AttackContext:
    """The context of a request; an empty one where the caller gave none."""
    return splits.context or AttackContext()
