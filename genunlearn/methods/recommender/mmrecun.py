"""MMRecUN: the ranking loss as it is on what stays, and turned round on what goes.

    L = (1 - b) mean_R -log sigmoid(x_ui - x_uj) + b mean_F -log sigmoid(-(x_ui - x_uj)) + reg

x_ui is the score of the known item, x_uj that of one that the user does not know, b the `forget_weight`. The loss on F
has its sign inside the sigmoid alone: with a second minus in front of the logarithm it would raise what is to go.

Source: Sinha, Mandal, Kankanhalli, "Multi-Modal Recommendation Unlearning for Legal, Licensing, and Modality
Constraints" (AAAI 2025; arXiv 2405.15328). The reversed loss is that of recommendation reverse learning (RRL).
Deviations: the paper's code is not public and the weights of its terms are not known here: a convex pair stands for
them, and reg is the squared vectors that every model of this family is taught with.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT, Batch, Needs, Objective, Reference, Term, Terms
from genunlearn.domains.recommender.adapter import Recommender


@dataclass(config=STRICT, frozen=True, kw_only=True)
class MMRecUN(Objective[Recommender]):
    """Forward BPR on the retain set, reverse BPR on the forget set."""

    name: ClassVar[str] = "mmrecun"
    domains: ClassVar[frozenset[str]] = frozenset({"recommender"})
    needs: ClassVar[Needs] = Needs(retain=True)
    path: ClassVar[Literal["bounded", "unbounded", "anew"]] = "unbounded"
    paper: ClassVar[str] = "Sinha et al., AAAI 2025"
    equation: ClassVar[str] = "(1 - b) BPR(R) + b reverse BPR(F)"

    forget_weight: Annotated[float, Field(ge=0, le=1, description="b, share of the reversed loss in the sum")] = 0.5

    def loss(self, batch: Batch, model: Recommender, reference: Reference | None) -> Terms:
        """Two terms, ``forget`` and ``retain``."""
        terms = {}
        if batch.forget is not None:
            reverse = model.reverse_loss(batch.forget)
            terms["forget"] = Term.of(reverse, batch.forget, "forget", self.forget_weight)
        if batch.retain is not None:
            forward = model.example_loss(batch.retain)
            terms["retain"] = Term.of(forward, batch.retain, "retain", 1 - self.forget_weight)
        return terms
