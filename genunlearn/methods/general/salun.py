"""SalUn with random labels: relabel the forget set, and move only the weights that matter for it.

    mask = the share of weights with the largest |sum_F grad CE(y | x; theta_0)|
    L = gamma mean_F CE(y' | x; theta) + alpha mean_R CE(y | x; theta),   y' ~ uniform over the labels, masked

A label is whatever the family learns about an item: a class, a number, an answer, an image.

Source: Fan et al., "SalUn: Empowering Machine Unlearning via Gradient-based Weight Saliency" (ICLR 2024), eq. 3 and 4.
Authors' settings (CIFAR-10, a tenth of the data): share 0.5, SGD 0.013 with momentum 0.9 and weight decay 5e-4, 10
epochs, batches of 256.
Deviations: one draw of labels serves the whole run; the two sides are taken together, the authors' code takes them in
turn for data with 10 classes; weights outside the mask are put back after every step (``hold = "weights"``), where
early versions of the code masked gradients alone, so that weight decay and momentum moved them (``"gradients"``).
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
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
from genunlearn.data.relabel import redraw_labels
from genunlearn.domains.sharding import refuse_sharded
from genunlearn.errors import NeedNotMet
from genunlearn.ops.evaluation_mode import evaluating
from genunlearn.ops.saliency import Hold, held_still, saliency_masks


@dataclass(config=STRICT, frozen=True, kw_only=True)
class MaskedRelabelling(Objective[Domain]):
    """The loss of SalUn without its mask."""

    name: ClassVar[str] = "masked_relabelling"
    asks: ClassVar[frozenset[str]] = frozenset({"example_loss"})
    trains_on: ClassVar[Literal["examples", "request"]] = "examples"
    needs: ClassVar[Needs] = Needs(retain=True)
    gamma: float
    alpha: float

    def loss(self, batch: Batch, model: Domain, reference: Reference | None) -> Terms:
        """Two terms, ``forget`` and ``retain``."""
        coefficients = {"forget": self.gamma, "retain": self.alpha}
        return {
            side: Term.of(model.example_loss(examples), examples, side, coefficients[side])
            for side, examples in batch.sides()
        }


@dataclass(config=STRICT, frozen=True, kw_only=True)
class SalUnLabels(Protocol[Domain]):
    """Random labels on the weights that matter."""

    name: ClassVar[str] = "salun_labels"
    asks: ClassVar[frozenset[str]] = frozenset({"example_loss"})
    trains_on: ClassVar[Literal["examples", "request"]] = "examples"
    needs: ClassVar[Needs] = Needs(retain=True, full_weights=True, labels=True)
    paper: ClassVar[str] = "Fan et al., ICLR 2024"
    equation: ClassVar[str] = "gamma CE(F, random labels) + alpha CE(R) on the most salient weights"

    share: Annotated[float, Field(gt=0, le=1, description="share of the weights that may move")] = 0.5
    gamma: Annotated[float, Field(ge=0, description="weight of the relabelled forget set")] = 1.0
    alpha: Annotated[float, Field(ge=0, description="weight of the retain set")] = 1.0
    always_wrong: Annotated[bool, Field(description="never draw an item's own label")] = False
    hold: Annotated[Hold, Field(description="what holds the others: their weights, or their gradients")] = "weights"
    batch_size: Annotated[int, Field(ge=1, description="items in one pass for the mask; it does not change it")] = 64
    seed: Annotated[int, Field(ge=0, description="of the labels")] = 0

    def run(self, train: Train, model: Domain, splits: Splits, journal: Journal) -> Outcome:
        """Draw the mask on the original weights, relabel, train under the mask.

        Raises:
            NeedNotMet: A LoRA is trained, or the weights are cut over several processes.
        """
        refuse_sharded(model.network, f"method {self.name!r}")
        weights = {name: weight for name, weight in model.module.named_parameters() if weight.requires_grad}
        if any("lora_" in name for name in weights):
            raise NeedNotMet(
                f"method {self.name!r} ranks weights by their gradient, and half of a fresh LoRA has none: set "
                "parameters.kind = 'full'"
            )
        masks = saliency_masks(self._gradients(model, weights, splits), self.share)
        moving, total = sum(int(mask.sum()) for mask in masks.values()), sum(m.numel() for m in masks.values())
        pool = [*splits.forget, *(splits.retain or ())]
        forget = redraw_labels(splits.forget, pool, self.seed, is_wrong=self.always_wrong)
        with held_still(weights, masks, self.hold):
            train(MaskedRelabelling(gamma=self.gamma, alpha=self.alpha), with_sides(splits, forget, splits.retain))
        return Outcome(status="trained", reason=f"relabelled on {moving} of {total} weights")

    def _gradients(self, model: Domain, weights: dict[str, Any], splits: Splits) -> dict[str, Tensor]:
        """Gradient of the training loss in evaluation mode, summed over the forget set, by name."""
        sums = {name: torch.zeros_like(weight, dtype=torch.float32) for name, weight in weights.items()}
        with evaluating(model.module):
            for start in range(0, len(splits.forget), self.batch_size):
                loss = model.example_loss(model.collate(splits.forget[start : start + self.batch_size])).sum()
                gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
                for name, gradient in zip(weights, gradients, strict=True):
                    if gradient is not None:
                        sums[name] += gradient.float()
        return sums
