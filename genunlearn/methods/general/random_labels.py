"""Random labels: teach the forget items labels drawn at random, beside ordinary training on the retain set.

    L = gamma mean_F CE(y' | x; theta) + alpha mean_R CE(y | x; theta),   y' ~ uniform over the labels

A label is whatever the family learns about an item: a class, a number, an answer, an image.

Source: Golatkar et al., "Eternal Sunshine of the Spotless Net" (CVPR 2020), baseline; as run by Fan et al., "SalUn"
(ICLR 2024): SGD 0.013, 10 epochs, a drawn label may be the true one.
Deviations: one draw of labels serves the whole run, as in the reference's runs with 100 and more classes; its runs with
10 classes draw anew every epoch and take the two sides in turn instead of together. Of language models every example
counts the same, however long its answer, unless ``reduction: tokens``.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from genunlearn.contracts import (
    STRICT,
    Batch,
    Domain,
    Needs,
    Objective,
    Reduction,
    Reference,
    Splits,
    Term,
    Terms,
    with_sides,
)
from genunlearn.data.relabel import redraw_labels


@dataclass(config=STRICT, frozen=True, kw_only=True)
class RandomLabels(Objective[Domain]):
    """The training loss of relabelled forget items and of the retain set."""

    name: ClassVar[str] = "random_labels"
    asks: ClassVar[frozenset[str]] = frozenset({"example_loss"})
    trains_on: ClassVar[Literal["examples", "request"]] = "examples"
    needs: ClassVar[Needs] = Needs(retain=True)
    paper: ClassVar[str] = "Golatkar et al., CVPR 2020; Fan et al., ICLR 2024"
    equation: ClassVar[str] = "gamma CE(F, random labels) + alpha CE(R)"

    gamma: Annotated[float, Field(ge=0, description="weight of the relabelled forget set")] = 1.0
    alpha: Annotated[float, Field(ge=0, description="weight of the retain set")] = 1.0
    always_wrong: Annotated[bool, Field(description="never draw an item's own label")] = False
    reduction: Reduction = "examples"

    def prepare(self, splits: Splits, seed: int) -> Splits:
        """Draw a label for every forget item from all labels of the request."""
        pool = [*splits.forget, *(splits.retain or ())]
        forget = redraw_labels(splits.forget, pool, seed, is_wrong=self.always_wrong)
        return with_sides(splits, forget, splits.retain)

    def loss(self, batch: Batch, model: Domain, reference: Reference | None) -> Terms:
        """Two terms, ``forget`` and ``retain``."""
        coefficients = {"forget": self.gamma, "retain": self.alpha}
        return {
            side: Term.of(model.example_loss(examples), examples, side, coefficients[side], self.reduction)
            for side, examples in batch.sides()
        }
