"""NegGrad+: one loss that descends on the retain set and climbs on the forget set.

    L = beta mean_R CE(y | x; theta) - (1 - beta) mean_F CE(y | x; theta)

Source: Kurmanji et al., "Towards Unbounded Machine Unlearning" (NeurIPS 2023), baseline; beta 0.95, learning rate
0.01, 10 epochs over the retain set with the forget set cycling beside it.
Deviations: the authors' code adds an L2 term towards the initial weights to the retain loss, with the weight decay of
the run as its factor; here weight decay is left to the loop and `fine_tune_l2` is the method with that term. Of
language models every example counts the same, however long its answer, unless ``reduction: tokens``.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT, Batch, Domain, Needs, Objective, Reduction, Reference, Term, Terms


@dataclass(config=STRICT, frozen=True, kw_only=True)
class NegGradPlus(Objective[Domain]):
    """A convex mixture of retain descent and forget ascent."""

    name: ClassVar[str] = "neg_grad_plus"
    asks: ClassVar[frozenset[str]] = frozenset({"example_loss"})
    trains_on: ClassVar[Literal["examples", "request"]] = "examples"
    needs: ClassVar[Needs] = Needs(retain=True)
    path: ClassVar[Literal["bounded", "unbounded", "anew"]] = "unbounded"
    paper: ClassVar[str] = "Kurmanji et al., NeurIPS 2023"
    equation: ClassVar[str] = "beta CE(R) - (1 - beta) CE(F)"

    beta: Annotated[float, Field(ge=0, le=1, description="share of the retain loss in the mixture")] = 0.95
    reduction: Reduction = "examples"

    def loss(self, batch: Batch, model: Domain, reference: Reference | None) -> Terms:
        """Two terms, ``forget`` and ``retain``."""
        coefficients = {"forget": self.beta - 1, "retain": self.beta}
        return {
            side: Term.of(model.example_loss(examples), examples, side, coefficients[side], self.reduction)
            for side, examples in batch.sides()
        }
