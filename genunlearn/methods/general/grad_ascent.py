"""Gradient ascent: climb the training loss on the forget set.

    L = -mean_F CE(y | x; theta)

Source: the baseline "negative gradient" of Golatkar et al., "Eternal Sunshine of the Spotless Net" (CVPR
2020); Jang et al., "Knowledge Unlearning for Mitigating Privacy Risks in Language Models" (ACL 2023).
Deviations: of language models every example counts the same, however long its answer; ``reduction: tokens`` is the mean
over all answer tokens of a step, as in the authors' code. The loss has no lower bound and nothing holds the retain set,
so steps and learning rate decide how much of the model is lost; `GradDiff` is the form with a retain term.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT, Batch, Domain, Objective, Reduction, Reference, Term, Terms


@dataclass(config=STRICT, frozen=True, kw_only=True)
class GradAscent(Objective[Domain]):
    """The training loss of the forget set with its sign turned."""

    name: ClassVar[str] = "grad_ascent"
    asks: ClassVar[frozenset[str]] = frozenset({"example_loss"})
    trains_on: ClassVar[Literal["examples", "request"]] = "examples"
    path: ClassVar[Literal["bounded", "unbounded", "anew"]] = "unbounded"
    paper: ClassVar[str] = "Golatkar et al., CVPR 2020; Jang et al., ACL 2023"
    equation: ClassVar[str] = "-CE(F)"

    reduction: Reduction = "examples"

    def loss(self, batch: Batch, model: Domain, reference: Reference | None) -> Terms:
        """One term, ``forget``: minus the loss of each forget example; retain examples are not looked at."""
        return {
            side: Term.of(model.example_loss(examples), examples, side, -1.0, self.reduction)
            for side, examples in batch.sides()
            if side == "forget"
        }
