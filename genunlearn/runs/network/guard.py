"""Has unlearning ruined the model? Measured on retain data, with the share of the change that would have been safe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from genunlearn.data.network.items import Item, targets_of
from genunlearn.data.network.subsets import random_subset
from genunlearn.domains.network.base import NetworkDomain

MOST_CHECKED = 2000
SHARES = tuple(number / 20 for number in range(19, 0, -1))
"""Shares of the change that are tried, the largest first."""


@dataclass(frozen=True)
class Finding:
    """What became of the retain data.

    Attributes:
        before: Level of the original, see `level`.
        after: Level of the unlearned model.
        tolerance: How far it may fall.
        safe_share: The largest share of the change of weights that keeps within the tolerance; None where there was
            no need to look, or no way to (under LoRA), 0 where none does.
    """

    before: float
    after: float
    tolerance: float
    safe_share: float | None = None

    @property
    def is_collapsed(self) -> bool:
        """Whether the level fell further than it may."""
        return not self.before - self.after <= self.tolerance  # a level that is no number has fallen too

    def __str__(self) -> str:
        """What happened, and what would have been safe."""
        fell = f"retain level {self.before:.3f} before, {self.after:.3f} after (at most {self.tolerance:g} may be lost)"
        if self.safe_share is None:
            return fell
        if not self.safe_share:
            return f"{fell}; not even a twentieth of the change would have been safe"
        return f"{fell}; {self.safe_share:.0%} of the change of weights would have been safe"


class Guard:
    """Remembers how a network does on retain data, to compare it with what has been made of it.

    Attributes:
        before: Level of the original, see `level`.
    """

    def __init__(self, original: NetworkDomain, retain: Sequence[Item], *, tolerance: float) -> None:
        """Measure the original.

        Args:
            original: The model before.
            retain: Items that must stay; at most `MOST_CHECKED` of them are looked at.
            tolerance: How far the level may fall.
        """
        kept = random_subset(retain, min(MOST_CHECKED, len(retain))).tolist()
        self._items = [item for item, is_kept in zip(retain, kept, strict=True) if is_kept]
        self._tolerance = tolerance
        self.before = level(original, self._items)

    def inspect(self, model: NetworkDomain, start: Mapping[str, Tensor]) -> Finding:
        """Measure again; after a collapse, look for a share of the change of weights that is safe.

        Args:
            model: The model after; its weights are moved while shares are tried, and put back.
            start: Weights and buffers of the original, by name.
        """
        found = Finding(self.before, level(model, self._items), self._tolerance)
        if not found.is_collapsed:
            return found
        if any(name not in start for name, _ in model.network.named_parameters()):
            return found  # a LoRA, whose weights the original has not
        own = tensors_of(model)
        end = {name: tensor.detach().clone() for name, tensor in own.items()}
        try:
            safe = (share for share in SHARES if self._is_safe(model, own, start, end, share))
            return replace(found, safe_share=next(safe, 0.0))
        finally:
            _interpolate(own, end, end, 1.0)

    def is_damaged(self, model: NetworkDomain) -> bool:
        """Whether the level has fallen further than it may."""
        return Finding(self.before, level(model, self._items), self._tolerance).is_collapsed

    def soften(self, model: NetworkDomain, start: Mapping[str, Tensor], share: float) -> float:
        """Keep `share` of the change of weights, in place; returns the level then."""
        own = tensors_of(model)
        _interpolate(own, start, {name: tensor.detach().clone() for name, tensor in own.items()}, share)
        return level(model, self._items)

    def _is_safe(
        self,
        model: NetworkDomain,
        own: Mapping[str, Tensor],
        start: Mapping[str, Tensor],
        end: Mapping[str, Tensor],
        share: float,
    ) -> bool:
        _interpolate(own, start, end, share)
        return self.before - level(model, self._items) <= self._tolerance


def tensors_of(model: NetworkDomain) -> dict[str, Tensor]:
    """Weights and buffers of a network, by name."""
    return {**dict(model.network.named_parameters()), **dict(model.network.named_buffers())}


def level(model: NetworkDomain, items: Sequence[Item]) -> float:
    """Accuracy; for regressors 1 less the mean absolute error as a share of the targets' standard deviation."""
    outputs, targets = model.predict(items), targets_of(items)
    if not targets.is_floating_point():
        return float((outputs.argmax(1) == targets).float().mean())
    targets = targets.reshape(len(targets), -1)
    spread = targets.std(0).mean() if len(targets) > 1 else torch.tensor(1.0)
    return float(1 - (outputs - targets).abs().mean() / spread.clamp_min(1e-12))


@torch.no_grad()
def _interpolate(
    own: Mapping[str, Tensor], start: Mapping[str, Tensor], end: Mapping[str, Tensor], share: float
) -> None:
    """Set tensors to `share` of the way from the one to the other; whole numbers are those of the end."""
    for name, tensor in own.items():
        if name in start and tensor.is_floating_point() and share < 1:
            tensor.copy_(start[name].to(end[name]).lerp(end[name], share))
        else:
            tensor.copy_(end[name])
