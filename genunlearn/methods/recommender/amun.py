"""AmUn: amnesiac unlearning of a ranking; for each forgotten pair the user learns to like another item better.

    L = mean_{F' u R} -log sigmoid(x_ui - x_uj),   F' = {(u, i', i) : (u, i) in F},   i' drawn from what u does not know

Source: Graves, Nagisetty, Ganesh, "Amnesiac Machine Learning" (AAAI 2021), the relabelling variant; a baseline of
MMRecUN under this name.
Deviations: a wrong label takes the right one's place in classification, and lowers it by that. Rankings have no labels:
the item i' that is drawn once for each pair is preferred to the forgotten one. One mean over both kinds of pair, so
each weighs by its number.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic.dataclasses import dataclass

from genunlearn.contracts import STRICT, Batch, Needs, Objective, Reference, Splits, Term, Terms, with_sides
from genunlearn.data.recommender.interactions import Interaction, as_pairs
from genunlearn.domains.recommender.adapter import Recommender
from genunlearn.ops.sampling import draw_unknown


@dataclass(config=STRICT, frozen=True, kw_only=True)
class AmUn(Objective[Recommender]):
    """The training loss of all pairs, with the forgotten ones turned round against a drawn item."""

    name: ClassVar[str] = "amun"
    domains: ClassVar[frozenset[str]] = frozenset({"recommender"})
    needs: ClassVar[Needs] = Needs(retain=True)
    paper: ClassVar[str] = "Graves et al., AAAI 2021"
    equation: ClassVar[str] = "BPR(F against drawn items, and R)"

    def prepare(self, splits: Splits, seed: int) -> Splits:
        """Draw an item for each forgotten pair, and put the two among the retained pairs the other way round."""
        forget = as_pairs(splits.forget)
        pairs = torch.cat([forget, as_pairs(splits.retain or ())])
        items = 1 + int(pairs[:, 1].max())
        known = (pairs[:, 0] * items + pairs[:, 1]).sort().values
        drawn = draw_unknown(forget[:, 0], forget[:, 1], known, items, seed)
        turned = [
            Interaction(one.user, other, negative=one.item)
            for one, other in zip(splits.forget, drawn.tolist(), strict=True)
        ]
        return with_sides(splits, (), [*turned, *(splits.retain or ())])

    def loss(self, batch: Batch, model: Recommender, reference: Reference | None) -> Terms:
        """One term for each side that is there; prepared data have one side, ``retain``."""
        return {side: Term.of(model.example_loss(examples), examples, side) for side, examples in batch.sides()}
