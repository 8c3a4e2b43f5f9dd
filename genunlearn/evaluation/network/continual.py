"""What a stream of tasks costs and brings: forgetting that nobody asked for, and transfer between tasks.

All three come from which test items were right after each request, so that every one has an interval over items. What
was forgotten on request counts in none of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from genunlearn.ops import intervals
from genunlearn.records import Result

START = -1
"""The number of the untrained network among the requests."""

Flags = np.ndarray


@dataclass(frozen=True, kw_only=True)
class History:
    """What was right, request by request.

    Attributes:
        labels: ``(test,)``, the classes of the test items.
        right: By number of a request, ``(test,)`` whether each test item was right after it; `START` before the first.
        learnt: By class, the number of the request that taught it.
    """

    labels: np.ndarray
    right: Mapping[int, Flags]
    learnt: Mapping[int, int]

    def measure(self, number: int, known: Sequence[int], target: str) -> list[Result]:
        """Forgetting and transfer after a request, over the classes that are to be known then.

        ``forgetting``: a class's best accuracy after an earlier request less the present one, over classes learnt
        before (Chaudhry et al., ECCV 2018). ``backward_transfer``: the present accuracy less the one right after the
        class was learnt; ``forward_transfer``: that just before a class was learnt less the untrained network's
        (Lopez-Paz and Ranzato, NeurIPS 2017). Means are over test items. A network with one output for each class says
        no class before it is taught it, so its forward transfer is about minus chance.
        """
        older = [label for label in known if self.learnt[label] < number]
        first = min(self.learnt.values())
        later = [label for label in known if self.learnt[label] > first]
        return [
            self._result("forgetting", older, number, target, better=False),
            self._result("backward_transfer", older, number, target, better=True),
            self._result("forward_transfer", later, number, target, better=True),
        ]

    def _result(self, name: str, classes: Sequence[int], number: int, target: str, *, better: bool) -> Result:
        parts = [self._differences(name, label, number) for label in classes]
        values = np.concatenate(parts) if parts else np.zeros(0)
        if not len(values):
            why = "no class was learnt before this request" if name != "forward_transfer" else "no second task yet"
            return Result(name=name, target=target, value=None, skipped=why)
        value, low, high = intervals.mean(values.tolist())
        return Result(
            name=name, target=target, value=value, low=low, high=high, n=len(values), higher_is_better=better
        )  # fmt: skip

    def _differences(self, name: str, label: int, number: int) -> np.ndarray:
        rows, taught = self.labels == label, self.learnt[label]
        right = {step: flags[rows].astype(float) for step, flags in self.right.items()}
        if name == "forward_transfer":
            return right[taught - 1] - right[START]
        if name == "backward_transfer":
            return right[number] - right[taught]
        best = max(range(taught, number), key=lambda step: right[step].mean() if rows.any() else 0.0)
        return right[best] - right[number]
