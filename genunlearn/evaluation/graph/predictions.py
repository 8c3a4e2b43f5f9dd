"""What a graph network answers on every measured set; computed once, read by every metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from genunlearn.data.graph.graph import GraphItem
from genunlearn.domains.graph.adapter import GraphModel


class GraphPredictions:
    """Answers of one network on the graph without what is to be forgotten, and of those that it is compared with.

    Attributes:
        model: The network; it is asked on its own `graph`.
        data: Measured items by group: ``forget``, ``retain``, ``test`` and ``test_forget``.
        original: The same of the network before; None where nobody has given it.
        oracles: The same of networks that never learnt the forget set; an oracle may stand among its own.
    """

    def __init__(
        self,
        model: GraphModel,
        data: Mapping[str, Sequence[GraphItem]],
        *,
        original: GraphPredictions | None = None,
        oracles: Sequence[GraphPredictions] = (),
    ) -> None:
        """Groups without items are left out."""
        self.model, self.original, self.oracles = model, original, tuple(oracles)
        self.data = {group: list(items) for group, items in data.items() if items}
        self._known: dict[str, Tensor] = {}

    @property
    def others(self) -> tuple[GraphPredictions, ...]:
        """The oracles that this network is compared with: all of them, but not itself."""
        return tuple(oracle for oracle in self.oracles if oracle.model is not self.model)

    def logits(self, group: str) -> Tensor:
        """``(items, classes)`` in float32 on the CPU."""
        if group not in self._known:
            self._known[group] = self.model.predict(self.data[group])
        return self._known[group]

    def targets(self, group: str) -> Tensor:
        """Class numbers, ``(items,)``."""
        return torch.tensor([item.target for item in self.data[group]])

    def correct(self, group: str) -> Tensor:
        """Whether the most probable class is the true one, ``(items,)`` bool."""
        return self.decisions(group) == self.targets(group)

    def decisions(self, group: str) -> Tensor:
        """The most probable class, ``(items,)``."""
        return self.logits(group).argmax(1)

    def confidence(self, group: str) -> Tensor:
        """Probability of the true class, ``(items,)`` in double precision."""
        return self.logits(group).double().softmax(1).gather(1, self.targets(group)[:, None])[:, 0]

    def kept(self, group: str) -> Tensor:
        """Which items are told, as `told` counts it."""
        return told(self.model.task, self.logits(group), self.targets(group))

    def link_scores(self, group: str, *, is_linked: bool = True) -> Tensor:
        """How sure the network is of a link, of the pairs that have one or have none, ``(pairs,)``."""
        return self.logits(group)[self.targets(group) == int(is_linked), 1]


def told(task: str, logits: Tensor, targets: Tensor) -> Tensor:
    """Which items a network tells: nodes whose class it gives, links that score above half of the pairs without one.

    No threshold of one's own is in it: a network that scores everything lower, in the same order, tells as much.

    Args:
        task: ``node`` or ``link``.
        logits: ``(items, classes)``.
        targets: ``(items,)``.

    Returns:
        Bool, ``(items,)`` for nodes, ``(links,)`` for links; these need a pair without one beside them.
    """
    if task == "node":
        return logits.argmax(1) == targets
    return logits[targets == 1, 1] > logits[targets == 0, 1].median()
