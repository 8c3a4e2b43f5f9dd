"""Selective synaptic dampening: shrink the weights that matter for the forget set more than for everything.

    theta_i <- theta_i min(lambda I_D(i) / I_f(i), 1)   where I_f(i) > alpha I_D(i)

Importance I is a Fisher diagonal: of the forget set (f) and of all training data (D), both in evaluation mode.

Source: Foster, Schoepf, Brintrup, "Fast Machine Unlearning Without Retraining Through Selective Synaptic Dampening"
(AAAI 2024). Authors' settings: alpha 10, lambda 1 (ResNet-18); alpha 5 for classes, 25 for sub-classes (ViT); alpha 50,
lambda 0.1 (PinsFace); batches of 64.
Deviations: none in the default ``importance = "batch"``, the square of each batch's mean gradient, which depends on
the batch size; ``"example"`` squares the gradient of every example, as the paper's text defines it. A fixed alpha can
ruin a model on one class and spare it on another, so the loss on retain data is checked afterwards: a collapse is
answered with the first doubling of alpha that is safe; ``soften: false`` keeps the fixed one, as published.
A denoiser's loss draws noise and a timestep, so its importance takes several passes (`draws`), each with noise of its
own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from genunlearn.contracts import STRICT, Domain, Edit, EditReport, Needs, Splits
from genunlearn.errors import MismatchError, NeedNotMet
from genunlearn.ops.dampening import dampening_factor
from genunlearn.ops.evaluation_mode import evaluating
from genunlearn.ops.fisher import batch_fisher, empirical_fisher

MOST_CHECKED = 1024  # retain items behind the collapse check
DOUBLINGS = 12  # how far the search for a safe alpha goes


@dataclass(config=STRICT, frozen=True, kw_only=True)
class SSD(Edit[Domain]):
    """Selective synaptic dampening."""

    name: ClassVar[str] = "ssd"
    asks: ClassVar[frozenset[str]] = frozenset({"example_loss"})
    trains_on: ClassVar[Literal["examples", "request"]] = "examples"
    needs: ClassVar[Needs] = Needs(retain=True, full_weights=True)
    paper: ClassVar[str] = "Foster et al., AAAI 2024"
    equation: ClassVar[str] = "theta *= min(lambda I_D / I_f, 1) where I_f > alpha I_D"

    alpha: Annotated[float, Field(gt=0, description="how many times more a weight must matter for the forget set")] = (
        10.0
    )
    strength: Annotated[float, Field(gt=0, description="lambda; less than 1 dampens more")] = 1.0
    importance: Annotated[
        Literal["batch", "example"], Field(description="square of a batch's mean gradient, or of every example's")
    ] = "batch"
    batch_size: Annotated[int, Field(ge=1, description="examples behind one squared gradient")] = 64
    draws: Annotated[
        int, Field(ge=1, description="passes over the data; more than one only where the loss draws noise")
    ] = 1
    max_retain_rise: Annotated[
        float, Field(gt=0, description="rise of the mean retain loss, in units of loss, that counts as a collapse")
    ] = 0.2
    soften: Annotated[
        bool, Field(description="after a collapse, dampen with the first safe doubling of alpha instead")
    ] = True

    def apply(self, model: Domain, splits: Splits) -> EditReport:
        """Dampen the weights in place.

        Raises:
            NeedNotMet: A LoRA is trained.
            MismatchError: ``importance = "example"`` on a model that has no loss of a single example.
        """
        retain = list(splits.retain or ())
        weights = {name: weight for name, weight in model.module.named_parameters() if weight.requires_grad}
        if any("lora_" in name for name in weights):
            raise NeedNotMet(
                f"method {self.name!r} shrinks weights, and half of a fresh LoRA is 0: set parameters.kind = 'full'"
            )
        with evaluating(model.module), torch.random.fork_rng(devices=[]):
            forget = self._importance(model, weights, splits.forget)
            everything = self._importance(model, weights, [*retain, *splits.forget])
            guard = _Guard(model, _shuffled(retain)[:MOST_CHECKED], self.batch_size, self.max_retain_rise)
            dampen = _Dampener(weights, forget, everything, self.strength)
            changed = dampen(self.alpha)
            details: dict[str, Any] = {"alpha": self.alpha, **guard.look()}
            if details["is_collapsed"]:
                details["safe_alpha"] = safe = _safe_alpha(dampen, guard, self.alpha)
                used = safe if self.soften and safe is not None else self.alpha
                changed = dampen(used)
                details |= {"alpha": used, **guard.look()}
            details["dampened"] = dampen.count
        return EditReport(changed=changed, details=details)

    def _importance(self, model: Domain, weights: Mapping[str, Tensor], items: Sequence[Any]) -> dict[str, Tensor]:
        if self.importance == "batch":
            return batch_fisher(self._losses(model, _shuffled(items)), weights)
        if "sample_loss" not in model.offers:
            raise MismatchError(f"importance = 'example' does not fit domain {model.name!r}: use 'batch'")
        total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        for examples in _batches(model, items, self.batch_size):
            for name, value in empirical_fisher(model.sample_loss, weights, examples.tensors).items():
                total[name] += value
        return {name: value / len(items) for name, value in total.items()}

    def _losses(self, model: Domain, items: Sequence[Any]) -> Iterator[Tensor]:
        """Mean loss of every batch, in every draw."""
        for draw in range(self.draws):
            torch.manual_seed(draw)
            yield from (model.example_loss(examples).mean() for examples in _batches(model, items, self.batch_size))


class _Dampener:
    """Sets the weights to their originals, dampened; remembers how many were."""

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        forget: Mapping[str, Tensor],
        everything: Mapping[str, Tensor],
        strength: float,
    ) -> None:
        self._weights, self._forget, self._everything, self._strength = weights, forget, everything, strength
        self._originals = {name: weight.detach().clone() for name, weight in weights.items()}
        self.count = 0

    @torch.no_grad()
    def __call__(self, alpha: float) -> tuple[str, ...]:
        """Dampen the originals with `alpha`; returns the names of the tensors that this changes."""
        changed, self.count = [], 0
        for name, weight in self._weights.items():
            factor = dampening_factor(self._forget[name], self._everything[name], alpha=alpha, strength=self._strength)
            weight.copy_(self._originals[name] * factor)
            if dampened := int((factor < 1).sum()):
                changed.append(name)
                self.count += dampened
        return tuple(changed)


class _Guard:
    """Watches the loss on retain data, against what it is at the beginning."""

    def __init__(self, model: Domain, items: Sequence[Any], batch_size: int, max_rise: float) -> None:
        self._model, self._items, self._batch_size, self._max_rise = model, items, batch_size, max_rise
        self._before = self._loss()

    def look(self) -> dict[str, Any]:
        """Retain loss before and now, and whether it has risen too far (or is not a number any more)."""
        now = self._loss()
        is_collapsed = not now - self._before <= self._max_rise
        return {"retain_loss_before": self._before, "retain_loss": now, "is_collapsed": is_collapsed}

    @torch.no_grad()
    def _loss(self) -> float:
        torch.manual_seed(0)  # the same noise before and after, where the loss draws any
        batches = _batches(self._model, self._items, self._batch_size)
        return float(torch.cat([self._model.example_loss(examples) for examples in batches]).mean())


def _safe_alpha(dampen: _Dampener, guard: _Guard, alpha: float) -> float | None:
    """The first doubling of `alpha` that spares the retain data; None if there is none."""
    for _ in range(DOUBLINGS):
        alpha *= 2
        dampen(alpha)
        if not guard.look()["is_collapsed"]:
            return alpha
    return None


def _shuffled(items: Sequence[Any]) -> list[Any]:
    """The items in a fixed random order: batches of one class each would have other mean gradients."""
    order = torch.randperm(len(items), generator=torch.Generator().manual_seed(0)).tolist()
    return [items[i] for i in order]


def _batches(model: Domain, items: Sequence[Any], size: int) -> Iterator[Any]:
    return (model.collate(items[i : i + size]) for i in range(0, len(items), size))
