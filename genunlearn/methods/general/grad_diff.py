"""Gradient difference: climb the loss on the forget set, descend it on the retain set.

    L = -gamma mean_F CE(y | x; theta) + alpha mean_R CE(y | x; theta)

Source: Liu et al., "Continual Learning and Private Unlearning" (CoLLAs 2022); the baseline "gradient
difference" of Maini et al., "TOFU: A Task of Fictitious Unlearning for LLMs" (COLM 2024).
Deviations: of language models every example counts the same, however long its answer; ``reduction: tokens`` is the mean
over all answer tokens of a side, as in the authors' code. Each mean is over its own side, so the two may differ
in size.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT, Batch, Domain, Needs, Objective, Reduction, Reference, Term, Terms


@dataclass(config=STRICT, frozen=True, kw_only=True)
class GradDiff(Objective[Domain]):
    """Gradient ascent on the forget set, held by descent on the retain set."""

    name: ClassVar[str] = "grad_diff"
    asks: ClassVar[frozenset[str]] = frozenset({"example_loss"})
    trains_on: ClassVar[Literal["examples", "request"]] = "examples"
    needs: ClassVar[Needs] = Needs(retain=True)
    paper: ClassVar[str] = "Liu et al., CoLLAs 2022; Maini et al., COLM 2024"
    equation: ClassVar[str] = "-gamma CE(F) + alpha CE(R)"

    gamma: Annotated[float, Field(ge=0, description="weight of the reversed loss on the forget set")] = 1.0
    alpha: Annotated[float, Field(ge=0, description="weight of the loss on the retain set")] = 1.0
    reduction: Reduction = "examples"

    def loss(self, batch: Batch, model: Domain, reference: Reference | None) -> Terms:
        """Two terms, ``forget`` and ``retain``."""
        coefficients = {"forget": -self.gamma, "retain": self.alpha}
        return {
            side: Term.of(model.example_loss(examples), examples, side, coefficients[side], self.reduction)
            for side, examples in batch.sides()
        }
