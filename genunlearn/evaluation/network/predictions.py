"""What a classifier or regressor answers on every measured set; computed once, read by every metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from genunlearn.data.network.items import Item, targets_of
from genunlearn.domains.network.base import NetworkDomain


class Predictions:
    """Answers of one network, and beside it those of the networks it is compared with.

    The weights are read when a set is first asked for, and must not have changed by the time the next one is.

    Attributes:
        model: The network.
        data: Measured items by group: ``forget``, ``retain``, ``test`` and what the caller adds.
        oracles: Predictions, on the same data, of networks that never learnt the forget set.
    """

    def __init__(
        self,
        model: NetworkDomain,
        data: Mapping[str, Sequence[Item]],
        *,
        oracles: Sequence[Predictions] = (),
        batch_size: int = 128,
    ) -> None:
        """Groups without items are left out; an oracle may stand among its own `oracles`."""
        self.model = model
        self.data = {group: list(items) for group, items in data.items() if items}
        self.oracles = tuple(oracles)
        self._batch_size = batch_size
        self._known: dict[tuple[str, str], Tensor] = {}

    @property
    def others(self) -> tuple[Predictions, ...]:
        """The oracles that this network is compared with: all of them, but not itself."""
        return tuple(oracle for oracle in self.oracles if oracle.model is not self.model)

    def outputs(self, group: str) -> Tensor:
        """Logits or predicted numbers, ``(items, outputs)`` in float32 on the CPU."""
        return self._once("outputs", group, lambda items: self.model.predict(items, self._batch_size))

    def targets(self, group: str) -> Tensor:
        """Class numbers ``(items,)``, or the numbers to predict ``(items, outputs)``."""
        targets = self._once("targets", group, targets_of)
        return targets.reshape(len(targets), -1) if targets.is_floating_point() else targets

    def correct(self, group: str) -> Tensor:
        """Whether the most probable class is the true one, ``(items,)`` bool."""
        return self.outputs(group).argmax(1) == self.targets(group)

    def absolute_errors(self, group: str) -> Tensor:
        """Absolute difference from the target in its own unit, mean over outputs, ``(items,)``."""
        return (self.outputs(group) - self.targets(group)).abs().mean(1)

    def untrained_outputs(self, group: str) -> Tensor:
        """Logits of an untrained network of the same architecture, ``(items, classes)``."""
        return self._once("untrained", group, self._ask_untrained)

    def _ask_untrained(self, items: Sequence[Item]) -> Tensor:
        size = self._batch_size
        with torch.no_grad():
            batches = (self.model.collate(items[i : i + size]) for i in range(0, len(items), size))
            return torch.cat([self.model.untrained_logits(examples).float().cpu() for examples in batches])

    def _once(self, what: str, group: str, compute: Callable[[Sequence[Item]], Tensor]) -> Tensor:
        key = what, group
        if key not in self._known:
            self._known[key] = compute(self.data[group])
        return self._known[key]
