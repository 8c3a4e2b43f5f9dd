"""A memory of fixed size for learners of tasks: a uniform sample of all that was learnt, from which things can go.

Reservoir sampling keeps a uniform sample of a growing set. What is deleted leaves a gap, and filling it with whatever
comes next would favour what comes late. Random pairing keeps the sample uniform: each later item makes up for one
deletion, and takes the place of a deleted member with the share of members among the deletions not made up for.

Source: Vitter, "Random Sampling with a Reservoir" (ACM TOMS 1985); Gemulla, Lehner, Haas, "A Dip in the Reservoir:
Maintaining Sample Synopses of Evolving Datasets" (VLDB 2006), section 3.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from genunlearn.data.network.items import Item
from genunlearn.errors import DataError


class Memory:
    """At most `capacity` items, every set of so many being as likely as any other.

    Of what it has been offered and does not hold, it knows ids, classes and tasks alone.

    Attributes:
        capacity: Items at most.
        items: What it holds, in the order of its places.
    """

    def __init__(self, capacity: int, *, seed: int = 0) -> None:
        """Begin empty; `seed` decides everything that is drawn, together with what came before."""
        self.capacity, self.items, self._seed = capacity, list[Item](), seed
        self._known: dict[str, tuple[int, int]] = {}
        self._gaps, self._others, self._calls = 0, 0, 0

    def __len__(self) -> int:
        return len(self.items)

    @property
    def known(self) -> tuple[str, ...]:
        """Ids of everything that was offered and has not been forgotten, in the order in which it came."""
        return tuple(self._known)

    def add(self, items: Sequence[Item], task: int) -> None:
        """Offer the items of a task, one after the other.

        Raises:
            DataError: An item is known already: no id may count twice.
        """
        if twice := [item.id for item in items if item.id in self._known]:
            raise DataError(f"item {twice[0]!r} was learnt before: an id stands for one item, which is learnt once")
        draws = np.random.default_rng([self._seed, self._calls])
        self._calls += 1
        for item in items:
            self._known[item.id] = int(item.target), task
            self._offer(item, draws)

    def forget(
        self, *, ids: Collection[str] = (), classes: Collection[int] = (), task: int | None = None
    ) -> tuple[str, ...]:
        """Delete items by id, by class, or of a task; returns the ids that are forgotten now.

        Raises:
            DataError: One of the ids or classes, or the task, is not known.
        """
        known = self._known
        if strange := [one for one in ids if one not in known]:
            raise DataError(f"item {strange[0]!r} cannot be forgotten: it was never learnt, or is forgotten already")
        for what, asked, place in (("class", classes, 0), ("task", () if task is None else (task,), 1)):
            there = sorted({row[place] for row in known.values()})
            if strange_numbers := sorted(set(asked) - set(there)):
                raise DataError(
                    f"{what} {strange_numbers[0]} cannot be forgotten: it was never learnt, or is forgotten already; "
                    f"known: {', '.join(map(str, there)) or 'none'}"
                )
        named = set(ids)
        going = tuple(key for key, (label, of) in known.items() if key in named or label in classes or of == task)
        gone = set(going)
        kept = [item for item in self.items if item.id not in gone]
        missing = len(self.items) - len(kept)
        self._gaps, self._others = self._gaps + missing, self._others + len(gone) - missing
        self.items = kept
        for key in going:
            del known[key]
        return going

    def state(self) -> dict[str, Any]:
        """Everything but the items themselves, as plain JSON."""
        return {
            "held": [item.id for item in self.items],
            "known": [[key, *row] for key, row in self._known.items()],
            "counts": [self._gaps, self._others, self._calls],
        }

    def restore(self, state: Mapping[str, Any], items: Mapping[str, Item]) -> None:
        """Go back to what `state` has told; `items` by id hold at least those that were held."""
        self.items = [items[key] for key in state["held"]]
        self._known = {key: (label, task) for key, label, task in state["known"]}
        self._gaps, self._others, self._calls = state["counts"]

    def _offer(self, item: Item, draws: np.random.Generator) -> None:
        """One step of random pairing; without deletions it is one of reservoir sampling."""
        if open_ := self._gaps + self._others:
            if draws.integers(open_) < self._gaps:
                self._gaps -= 1
                self.items.append(item)
            else:
                self._others -= 1
        elif len(self.items) < self.capacity:
            self.items.append(item)
        elif (place := int(draws.integers(len(self._known)))) < self.capacity:
            self.items[place] = item
