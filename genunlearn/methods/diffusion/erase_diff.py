"""EraseDiff: learn the retain set as far as it does not undo the forgetting.

    L = L_r + lam (L_f - stopgrad L_f(theta^K)),   L_f = | eps_u(x_t, c) - stopgrad eps_u(x_t, c_other) |^2
    lam fixed, or lam = max(eta - cos(grad L_r, grad L_f), 0)

L_r is the training loss of preserved images, theta^K the weights after K inner steps on L_f.

Source: Wu et al., "Erasing Undesirable Influence in Diffusion Models" (CVPR 2025), eq. 9-11, and its code.
Deviations: the inner steps are left out, because L_f(theta^K) is a constant for the gradient of this
first-order scheme and every step is the same with and without it; the other concept is the anchor or a
preserved one.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import STRICT, Batch, Needs, Splits, Term, Terms, with_sides
from genunlearn.data.diffusion.concepts import relabelled
from genunlearn.domains.diffusion.adapter import Diffusion
from genunlearn.domains.diffusion.training import noised_images, own_prediction
from genunlearn.methods.diffusion.base import OnImages
from genunlearn.ops.denoising import squared_error


@dataclass(config=STRICT, frozen=True, kw_only=True)
class EraseDiff(OnImages):
    """A forgetting loss beside the training loss, balanced by whether they agree."""

    name: ClassVar[str] = "erase_diff"
    needs: ClassVar[Needs] = Needs(retain=True, reference=True)
    paper: ClassVar[str] = "Wu et al., CVPR 2025"
    equation: ClassVar[str] = "L_r + lam |eps_u(x_t, c) - stopgrad eps_u(x_t, c_other)|^2"

    parameters: Annotated[str, Field(description="trained weights: x, u, full, strict, or a regex")] = "full"
    balance: Annotated[
        Literal["fixed", "adaptive"],
        Field(description="lam as it is, or larger where the gradients disagree"),
    ] = "fixed"
    forget_weight: Annotated[float, Field(ge=0, description="lam where it is fixed, eta where it adapts")] = 0.1

    def prepare(self, splits: Splits, seed: int) -> Splits:
        """Images of both sides; concepts without an anchor are read as a preserved one."""
        forget = relabelled(splits.forget, splits.retain or ())
        return super().prepare(with_sides(splits, forget, splits.retain), seed)

    def loss(self, batch: Batch, model: Diffusion, reference: Any) -> Terms:
        """``forget`` under its weight, and ``retain``."""
        forget = retain = None
        if batch.forget is not None:
            noised = noised_images(batch.forget, model, reference)
            place = (noised.latents, noised.timesteps)
            target = own_prediction(model, *place, model.embedding(batch.forget, "anchor"))
            forget = squared_error(model.predict(*place, model.embedding(batch.forget)), target)
        if batch.retain is not None:
            noised = noised_images(batch.retain, model, reference)
            output = model.predict(noised.latents, noised.timesteps, model.embedding(batch.retain))
            retain = squared_error(output, noised.target)
        terms: dict[str, Term] = {}
        if forget is not None and batch.forget is not None:
            terms["forget"] = Term.of(forget, batch.forget, "forget", self._weight(model, forget, retain))
        if retain is not None and batch.retain is not None:
            terms["retain"] = Term.of(retain, batch.retain, "retain", self.preserve_weight)
        return terms

    def _weight(self, model: Diffusion, forget: Tensor, retain: Tensor | None) -> float:
        """``lam`` of this batch."""
        if self.balance == "fixed" or retain is None:
            return self.forget_weight
        weights = [p for p in model.network.parameters() if p.requires_grad]
        sides = [
            torch.autograd.grad(side.sum(), weights, retain_graph=True, allow_unused=True) for side in (retain, forget)
        ]
        pairs = [(r, f) for r, f in zip(*sides, strict=True) if r is not None and f is not None]
        product = sum(float((r * f).sum()) for r, f in pairs)
        norms = [sum(float(g.square().sum()) for g in side) ** 0.5 for side in zip(*pairs, strict=True)]
        return max(self.forget_weight - product / max(norms[0] * norms[1], 1e-12), 0.0)
