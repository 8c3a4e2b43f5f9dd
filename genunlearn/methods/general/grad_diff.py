"""Gradient difference: climb the loss on the forget set, descend it on the retain set.

    L = -gamma mean_F CE(y | x; theta) + alpha mean_R CE(y | x; theta)

With ``retain_loss = "kl"`` the second term is KL(f_0 || f) on R, the divergence from the original's predictions.

Source: Liu et al., "Continual Learning and Private Unlearning" (CoLLAs 2022); the baseline "gradient
difference" and, with the divergence, "KL minimization" of Maini et al., "TOFU: A Task of Fictitious Unlearning for
LLMs" (COLM 2024).
Deviations: of language models every example counts the same, however long its answer; ``reduction: tokens`` is the
mean over all answer tokens of a side, as in the authors' code. Each mean is over its own side, so the two may differ
in size.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT, Batch, Domain, Needs, Objective, Reduction, Reference, Term, Terms
from genunlearn.methods.base import RETAIN_LOSS, RetainLoss, declare_retain, retain_term


@dataclass(config=STRICT, frozen=True, kw_only=True)
class GradDiff(Objective[Domain]):
    """Gradient ascent on the forget set, held by descent on the retain set."""

    name: ClassVar[str] = "grad_diff"
    asks: ClassVar[frozenset[str]] = frozenset({"example_loss"})
    trains_on: ClassVar[Literal["examples", "request"]] = "examples"
    needs: ClassVar[Needs] = Needs(retain=True)
    asks_reference_else: ClassVar[bool] = False
    model_scores: ClassVar[tuple[tuple[str, str], ...]] = (("forget", "example_loss"),)
    path: ClassVar[Literal["bounded", "unbounded", "anew"]] = "unbounded"
    paper: ClassVar[str] = "Liu et al., CoLLAs 2022; Maini et al., COLM 2024"
    equation: ClassVar[str] = "-gamma CE(F) + alpha CE(R)"

    gamma: Annotated[float, Field(ge=0, description="weight of the reversed loss on the forget set")] = 1.0
    alpha: Annotated[float, Field(ge=0, description="weight of the loss on the retain set")] = 1.0
    reduction: Reduction = "examples"

    retain_loss: Annotated[RetainLoss, Field(description=RETAIN_LOSS)] = "nll"

    def __post_init__(self) -> None:
        """Ask for what the retain loss needs."""
        declare_retain(self, self.retain_loss)

    def loss(self, batch: Batch, model: Domain, reference: Reference) -> Terms:
        """Two terms, ``forget`` and ``retain``."""
        terms = {}
        if batch.forget is not None:
            terms["forget"] = Term.of(
                model.example_loss(batch.forget), batch.forget, "forget", -self.gamma, self.reduction
            )
        if batch.retain is not None:
            terms["retain"] = retain_term(self.retain_loss, batch.retain, model, reference, self.alpha, self.reduction)
        return terms
