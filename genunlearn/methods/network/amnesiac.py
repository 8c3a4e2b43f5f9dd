"""Amnesiac unlearning by relabelling: wrong labels for the forget set, shuffled in among the retain set.

    L = mean_{F' u R} CE(y | x; theta),   F' = F with a random wrong label each

Source: Graves, Nagisetty, Ganesh, "Amnesiac Machine Learning" (AAAI 2021), the relabelling variant, as run by
Chundawat et al., "Can Bad Teaching Induce Forgetting?" (AAAI 2023): 3 epochs, Adam 1e-4, batches of 256.
Deviations: none. One mean over both kinds of item, so each weighs by its number.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT, Batch, Needs, Objective, Reference, Splits, Term, Terms, with_sides
from genunlearn.data.relabel import redraw_labels
from genunlearn.domains.network.base import NetworkDomain


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Amnesiac(Objective[NetworkDomain]):
    """The training loss of the whole data set with the forget set mislabelled."""

    name: ClassVar[str] = "amnesiac"
    domains: ClassVar[frozenset[str]] = frozenset({"classifier"})
    needs: ClassVar[Needs] = Needs(retain=True)
    paper: ClassVar[str] = "Graves et al., AAAI 2021; Chundawat et al., AAAI 2023"
    equation: ClassVar[str] = "CE(F with wrong labels, and R)"

    def prepare(self, splits: Splits, seed: int) -> Splits:
        """Mislabel the forget items and shuffle them in among the retain items."""
        retain = list(splits.retain or ())
        mislabelled = redraw_labels(splits.forget, [*splits.forget, *retain], seed, is_wrong=True)
        return with_sides(splits, (), [*mislabelled, *retain])

    def loss(self, batch: Batch, model: NetworkDomain, reference: Reference | None) -> Terms:
        """One term for each side that is there; prepared data have one side, ``retain``."""
        return {side: Term.of(model.example_loss(examples), examples, side) for side, examples in batch.sides()}
