"""Which weights of a training are kept: those that tell least of what must go, at a utility no less than a floor."""

from __future__ import annotations

from collections.abc import Callable

from genunlearn.contracts.methods import Train

PATIENCE = 10
"""Checks in a row with a utility below the floor after which training ends."""

ADVICE = (
    "next: more retain data (--retain FILE), a lower train.learning_rate, a higher weight of the retain term, or "
    "another method"
)
"""What to do where nothing above the floor forgets enough."""


def floor_of(share: float, before: float) -> float:
    """A share of the utility before; 0.8 of 0.9 is 0.72, whatever binary fractions make of it."""
    return round(share * before, 9)


class BestWeights:
    """Keeps the weights with the least forget recall at a utility no less than the floor; of equals the first.

    Attributes:
        floor: Least utility; None where utility is not asked for.
        before: Utility before training; 0 where it is not asked for.
        recall: Forget recall of the weights that are kept; None while they are those of before.
        utility: Their utility; None where it was not asked for.
        at: Where in the training they were met.
        refused: How many offers in a row were below the floor.
    """

    def __init__(
        self, train: Train, share: float | None, measure: Callable[[str], float], *, unit: str = "round"
    ) -> None:
        """Mark the weights as they are, for the case that none are better.

        Args:
            train: The loop.
            share: Least utility as a share of what it is before training; None for no floor.
            measure: Gives the utility of the model as it is; it gets a name, unique in this training. Not called
                where there is no floor.
            unit: What the training is counted in.
        """
        self._train, self._measure, self.unit = train, measure, unit
        self.before = 0.0 if share is None else measure("utility before")
        self.floor = None if share is None else floor_of(share, self.before)
        self.recall: float | None = None
        self.utility: float | None = None
        self.at = self._offered = 0.0
        self.refused = 0
        train.mark()

    def offer(self, recall: float, at: float) -> bool:
        """Keep the weights as they are now if they are the best so far; utility is measured only where recall is less.

        Returns:
            Whether they are.
        """
        self._offered = at
        if self.recall is not None and recall >= self.recall:
            return False
        found = None if self.floor is None else self._measure(f"{self.unit} {at:g}/utility")
        if found is not None and self.floor is not None and found < self.floor:
            self.refused += 1
            return False
        self.recall, self.utility, self.at, self.refused = recall, found, at, 0
        self._train.mark()
        return True

    def settle(self) -> None:
        """Put the weights that are kept back in place."""
        if self.at != self._offered:
            self._train.back()

    @property
    def is_stuck(self) -> bool:
        """Whether the floor has been missed so often in a row that going on is of no use."""
        return self.refused >= PATIENCE

    @property
    def summary(self) -> str:
        """What is kept and why, for the record."""
        if self.recall is None:
            return (
                f"what must stay was told less often than the floor of {self.floor:.2f} (before: {self.before:.2f}) at "
                f"every check, so the weights are those of before; {ADVICE}"
            )
        kept = f"the best weights are kept, of {self.unit} {self.at:g}: forget recall {self.recall:.2f}"
        if self.utility is None:
            return kept
        return f"{kept}, utility {self.utility:.2f} (before: {self.before:.2f}, floor: {self.floor:.2f})"
