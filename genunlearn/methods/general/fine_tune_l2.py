"""Fine-tuning on the retain set, tied to the original weights.

    L = mean_R CE(y | x; theta) + lambda ||theta - theta_0||^2

The penalty keeps the test accuracy that plain fine-tuning loses: weights move only where the retain data asks for it.

Source: the L2 term towards the initial weights of Li, Grandvalet, Davoine, "Explicit Inductive Bias for Transfer
Learning with Convolutional Networks" (ICML 2018), used in unlearning by Kurmanji et al. (NeurIPS 2023) for NegGrad+.
Deviations: none. The distance is over the trained weights: under LoRA over the adapter's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass as plain_dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import (
    STRICT,
    Batch,
    Domain,
    Journal,
    Needs,
    Objective,
    Outcome,
    Protocol,
    Reference,
    Splits,
    Term,
    Terms,
    Train,
    with_sides,
)
from genunlearn.domains.sharding import refuse_sharded
from genunlearn.ops.divergences import squared_distance


@plain_dataclass(frozen=True, kw_only=True)
class AnchoredFineTuning(Objective[Domain]):
    """The retain loss and the squared distance to `anchors`."""

    name: ClassVar[str] = "anchored_fine_tuning"
    asks: ClassVar[frozenset[str]] = frozenset({"example_loss"})
    trains_on: ClassVar[Literal["examples", "request"]] = "examples"
    needs: ClassVar[Needs] = Needs(retain=True, forget=False)

    anchors: Mapping[str, Tensor]
    l2_to_init: float

    def loss(self, batch: Batch, model: Domain, reference: Reference | None) -> Terms:
        """Two terms, ``retain`` and ``distance``."""
        if batch.retain is None:
            return {}
        weights = {name: weight for name, weight in model.module.named_parameters() if name in self.anchors}
        distance = squared_distance(weights, self.anchors).expand(len(batch.retain))
        return {
            "retain": Term.of(model.example_loss(batch.retain), batch.retain, "retain"),
            "distance": Term.of(distance, batch.retain, "retain", self.l2_to_init),
        }


@dataclass(config=STRICT, frozen=True, kw_only=True)
class FineTuneL2(Protocol[Domain]):
    """Fine-tuning on the retain set with a penalty on the distance to the original weights."""

    name: ClassVar[str] = "fine_tune_l2"
    asks: ClassVar[frozenset[str]] = frozenset({"example_loss"})
    trains_on: ClassVar[Literal["examples", "request"]] = "examples"
    needs: ClassVar[Needs] = Needs(retain=True, forget=False)
    paper: ClassVar[str] = "Li et al., ICML 2018; Kurmanji et al., NeurIPS 2023"
    equation: ClassVar[str] = "CE(R) + lambda ||theta - theta_0||^2"

    l2_to_init: Annotated[float, Field(ge=0, description="lambda, weight of the squared distance")] = 0.01

    def run(self, train: Train, model: Domain, splits: Splits, journal: Journal) -> Outcome:
        """Remember the weights, then fine-tune.

        Raises:
            NeedNotMet: The weights are cut over several processes.
        """
        refuse_sharded(model.network, f"method {self.name!r}")
        anchors = {
            name: weight.detach().clone() for name, weight in model.module.named_parameters() if weight.requires_grad
        }
        objective = AnchoredFineTuning(anchors=anchors, l2_to_init=self.l2_to_init)
        train(objective, with_sides(splits, (), splits.retain))
        return Outcome(status="trained", reason=f"fine-tuned with lambda = {self.l2_to_init:g}")
