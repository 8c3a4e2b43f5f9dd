"""Fine-tuning on the retain set: go on training without the forget data and let it fade.

    L = mean_R CE(y | x; theta)

Source: the baseline of every comparison since Golatkar et al., "Eternal Sunshine of the Spotless Net" (CVPR 2020).
Authors' settings: 5 epochs at 0.02 (SSD), 10 epochs at 0.01 (SCRUB, SalUn).
Deviations: none; of language models every example counts the same, however long its answer, unless
``reduction: tokens``.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT, Batch, Domain, Needs, Objective, Reduction, Reference, Term, Terms


@dataclass(config=STRICT, frozen=True, kw_only=True)
class FineTune(Objective[Domain]):
    """The training loss of the retain set alone."""

    name: ClassVar[str] = "fine_tune"
    asks: ClassVar[frozenset[str]] = frozenset({"example_loss"})
    trains_on: ClassVar[Literal["examples", "request"]] = "examples"
    needs: ClassVar[Needs] = Needs(retain=True, forget=False)
    paper: ClassVar[str] = "Golatkar et al., CVPR 2020"
    equation: ClassVar[str] = "CE(R)"

    reduction: Reduction = "examples"

    def loss(self, batch: Batch, model: Domain, reference: Reference | None) -> Terms:
        """One term, ``retain``; forget examples are not looked at."""
        return {
            side: Term.of(model.example_loss(examples), examples, side, reduction=self.reduction)
            for side, examples in batch.sides()
            if side == "retain"
        }
