"""Uncounting: what a word has added to the table is taken away again.

    N'(a, b) = N(a, b) - share * N_forget(a, b)

Source: none, it is what a table of counts allows.
Deviations: none.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT, Edit, EditReport, Splits
from genunlearn_counts.model import Bigram, count


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Uncount(Edit[Bigram]):
    """Take the forget set's counts out of the table."""

    name: ClassVar[str] = "uncount"
    domains: ClassVar[frozenset[str]] = frozenset({"bigram"})
    paper: ClassVar[str] = "none"
    equation: ClassVar[str] = "N' = N - share N_forget"

    share: Annotated[float, Field(gt=0, le=1, description="of its counts that goes; with 1 nothing is left")] = 1.0

    def apply(self, model: Bigram, splits: Splits) -> EditReport:
        """Change the table in place."""
        forget = count(splits.forget).to(model.device)
        model.set_counts((model.counts - self.share * forget).clamp_min(0))
        return EditReport(changed=("weight",), details={"pairs": int((forget > 0).sum())})
