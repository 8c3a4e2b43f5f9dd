"""Has unlearning ruined the model? Measured on retain data, with the share of the change that would have been safe."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch

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
            no need to look, 0 where none does.
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
        if not self.safe_share:
            return f"{fell}; not even a twentieth of the change would have been safe"
        return f"{fell}; {self.safe_share:.0%} of the change of weights would have been safe"


def inspect(original: NetworkDomain, model: NetworkDomain, retain: Sequence[Item], *, tolerance: float) -> Finding:
    """Compare two models on retain data; after a collapse, look for a share of the change that is safe.

    Args:
        original: The model before.
        model: The model after, of the same architecture.
        retain: Items that must stay; at most `MOST_CHECKED` of them are looked at.
        tolerance: How far the level may fall.
    """
    kept = random_subset(retain, min(MOST_CHECKED, len(retain))).tolist()
    items = [item for item, is_kept in zip(retain, kept, strict=True) if is_kept]
    before = level(original, items)
    found = Finding(before, level(model, items), tolerance)
    if not found.is_collapsed:
        return found
    between = copy.copy(original)
    between.module = copy.deepcopy(original.network)
    for share in SHARES:
        _interpolate(original, model, between, share)
        if before - level(between, items) <= tolerance:
            return Finding(found.before, found.after, tolerance, share)
    return Finding(found.before, found.after, tolerance, 0.0)


def level(model: NetworkDomain, items: Sequence[Item]) -> float:
    """Accuracy; for regressors 1 less the mean absolute error as a share of the targets' standard deviation."""
    outputs, targets = model.predict(items), targets_of(items)
    if not targets.is_floating_point():
        return float((outputs.argmax(1) == targets).float().mean())
    targets = targets.reshape(len(targets), -1)
    spread = targets.std(0).mean() if len(targets) > 1 else torch.tensor(1.0)
    return float(1 - (outputs - targets).abs().mean() / spread.clamp_min(1e-12))


@torch.no_grad()
def _interpolate(original: NetworkDomain, model: NetworkDomain, between: NetworkDomain, share: float) -> None:
    """Set the weights of `between` to `share` of the way from the one to the other."""
    start, end = original.network.state_dict(), model.network.state_dict()
    for name, tensor in between.network.state_dict().items():
        whole = end[name].to(start[name].device)
        tensor.copy_(start[name].lerp(whole, share) if tensor.is_floating_point() else whole)
