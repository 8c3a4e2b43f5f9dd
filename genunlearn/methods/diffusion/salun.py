"""SalUn: relabel a concept as another one, and move only the weights that matter for it.

    mask   |grad of | eps + noise target |^2 over images of the concept| among the largest share
    L = | eps_u(x_t, c) - stopgrad eps_u(x_t, c_other) |^2 + alpha | eps_u(x_t, r) - noise |^2,   masked

where eps is guided, (1 + g) eps(x_t, c) - g eps(x_t, 0), and r runs over preserved images.

Source: Fan et al., "SalUn: Empowering Machine Unlearning via Gradient-based Weight Saliency" (ICLR 2024), eq.
3-5, and its code.
Deviations: the other concept is the request's anchor or else one of the preserved concepts in turn; the
threshold is selected, not sorted; masked weights are put back after each step (``hold = weights``), where the
published code masks gradients alone, so that weight decay moves them (``hold = gradients``).
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import (
    STRICT,
    Batch,
    Journal,
    Needs,
    Outcome,
    Protocol,
    Splits,
    Term,
    Terms,
    Train,
    with_sides,
)
from genunlearn.data.diffusion.concepts import ConceptPrompt, refuse_empty, relabelled
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.training import noised_images, own_prediction
from genunlearn.errors import NeedNotMet
from genunlearn.methods.diffusion.base import OnImages
from genunlearn.ops.denoising import guide, squared_error
from genunlearn.ops.saliency import Hold, held_still, saliency_masks

BATCH = 8
"""Images in one evaluation while gradients for the mask are summed; it does not change the mask."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class RandomConcept(OnImages):
    """The loss of SalUn without its mask."""

    name: ClassVar[str] = "random_concept"
    needs: ClassVar[Needs] = Needs()
    reference_scores: ClassVar[tuple[tuple[str, str], ...]] = ()

    def loss(self, batch: Batch, model: Diffusion, reference: Any) -> Terms:
        """``forget``: distance from the answer to the other concept; ``preserve``: the training loss."""
        terms: dict[str, Term] = {}
        if (forget := batch.forget) is not None:
            noised = noised_images(forget, model, reference)
            place = (noised.latents, noised.timesteps)
            target = own_prediction(model, *place, model.embedding(forget, "anchor"))
            errors = squared_error(model.predict(*place, model.embedding(forget)), target)
            terms["forget"] = Term.of(errors, forget, "forget")
        if (retain := batch.retain) is not None and self.preserve_weight:
            noised = noised_images(retain, model, reference)
            output = model.predict(noised.latents, noised.timesteps, model.embedding(retain))
            errors = squared_error(output, noised.target)
            terms["preserve"] = Term.of(errors, retain, "retain", self.preserve_weight)
        return terms


@dataclass(config=STRICT, frozen=True, kw_only=True)
class SalUn(Protocol[Diffusion]):
    """Random concepts on the weights that matter."""

    name: ClassVar[str] = "salun"
    domains: ClassVar[frozenset[str]] = frozenset({"diffusion"})
    paper: ClassVar[str] = "Fan et al., ICLR 2024"
    equation: ClassVar[str] = "|eps_u(x_t, c) - stopgrad eps_u(x_t, c_other)|^2 + alpha |eps_u(x_t, r) - noise|^2"

    parameters: Annotated[str, Field(description="weights that the mask is drawn over: x, u, full, ...")] = "full"
    share: Annotated[float, Field(gt=0, le=1, description="share of the weights that may move")] = 0.5
    mask_guidance: Annotated[float, Field(ge=0, description="g, guidance of the predictions under the mask")] = 7.5
    hold: Annotated[Hold, Field(description="what holds the others: their weights, or their gradients")] = "weights"
    images: Annotated[int, Field(ge=1, description="images of each side; a prompt has at least one")] = 32
    image_steps: Annotated[int, Field(ge=1, description="denoising steps of a made image")] = 50
    image_guidance: Annotated[float, Field(ge=0, description="guidance scale of a made image")] = 7.5
    preserve_weight: Annotated[float, Field(ge=0, description="alpha, weight of the training loss")] = 0.1
    seed: Annotated[int, Field(ge=0, description="seed of the images and of the mask's noise")] = 0

    def run(self, train: Train, model: Diffusion, splits: Splits, journal: Journal) -> Outcome:
        """Make images, draw the mask on the original weights, train under it.

        Raises:
            NeedNotMet: A LoRA is trained, or there is no other concept to relabel with.
        """
        objective = RandomConcept(
            images=self.images,
            image_steps=self.image_steps,
            image_guidance=self.image_guidance,
            preserve_weight=self.preserve_weight,
        )
        splits = objective.prepare(self._relabelled(splits), self.seed)
        journal.announce(f"salun: making {len(splits.forget) + len(splits.retain or ())} images")
        retain = model.render(splits.retain) if splits.retain else None
        splits = with_sides(splits, model.render(splits.forget), retain)
        masks = saliency_masks(self._gradients(model, splits.forget), self.share)
        moving = sum(int(mask.sum()) for mask in masks.values())
        total = sum(mask.numel() for mask in masks.values())
        journal.announce(f"salun: {moving} of {total} weights may move")
        with held_still(dict(model.network.named_parameters()), masks, self.hold):
            train(objective, splits)
        return Outcome(status="trained", reason=f"all steps done on {moving} of {total} weights")

    def _relabelled(self, splits: Splits) -> Splits:
        refuse_empty(splits.forget)
        others: list[ConceptPrompt] = list(splits.retain or ())
        if not others and not all(item.anchor for item in splits.forget):
            raise NeedNotMet(
                "method 'salun' relabels a concept as another one: give an anchor ('cat -> dog') or concepts "
                "to preserve"
            )
        return with_sides(splits, relabelled(splits.forget, others), splits.retain)

    def _gradients(self, model: Diffusion, items: Any) -> dict[str, Tensor]:
        """Gradient of the guided training loss, summed over the images, by parameter."""
        trained = {name: p for name, p in model.network.named_parameters() if p.requires_grad}
        if any("lora_" in name for name in trained):
            raise NeedNotMet(
                "method 'salun' ranks weights by their gradient, and half of a fresh LoRA has none: set "
                "parameters.kind = 'full'"
            )
        sums = {name: torch.zeros_like(p, dtype=torch.float32) for name, p in trained.items()}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            for start in range(0, len(items), BATCH):
                loss = self._guided_loss(model, model.collate(items[start : start + BATCH]))
                gradients = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
                for name, gradient in zip(trained, gradients, strict=True):
                    if gradient is not None:
                        sums[name] += gradient.float()
        return sums

    def _guided_loss(self, model: Diffusion, examples: Any) -> Tensor:
        noised = model.noised(examples["latents"], examples.ids)
        place = (noised.latents, noised.timesteps)
        conditional = model.predict(*place, model.embedding(examples))
        unconditional = model.predict(*place, model.unconditional(len(examples)))
        guided = guide(conditional, unconditional, 1 + self.mask_guidance)
        return squared_error(guided, noised.target).sum()
