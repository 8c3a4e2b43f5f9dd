"""How high a recommender ranks what users chose: Recall, NDCG, Precision and MAP, for all users at once.

With R_u the items that count for user u, k a cut-off and h_r whether the item at rank r is in R_u:

    Recall@k     sum_{r<=k} h_r / |R_u|
    Precision@k  sum_{r<=k} h_r / k
    NDCG@k       sum_{r<=k} h_r / log2(r + 1)  over the same sum for min(k, |R_u|) hits in a row
    MAP@k        sum_{r<=k} h_r Precision@r / min(k, |R_u|)

Every item is ranked, but for those that the user is known to have and those that are no longer offered. These are the
definitions of MMRec, the toolbox of the field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

CUTOFFS = (5, 10, 20, 50)
METRICS = ("recall", "ndcg", "precision", "map")

NO_ITEMS = torch.empty(0, dtype=torch.long)
"""For rankings that bar nothing."""

Scores = Callable[[Tensor], Tensor]
"""Scores of every item ``(users, items)`` for the numbers of some users."""


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """What is looked for in the rankings of some users.

    Attributes:
        relevant: The interactions that count, ``(pairs, 2)`` numbers of user and item.
        seen: Interactions that are left out of the ranking.
        barred: Items that are left out of everybody's ranking.
    """

    relevant: Tensor
    seen: Tensor
    barred: Tensor

    @property
    def users(self) -> Tensor:
        """Users that are ranked for, ``(users,)`` sorted."""
        return self.relevant[:, 0].unique()


def rank_metrics(
    scores: Scores, asked: Ranked, items: int, *, cutoffs: Sequence[int] = CUTOFFS, batch_size: int = 512
) -> dict[str, Tensor]:
    """Each metric for each user and cut-off, ``(users, cutoffs)`` in float32.

    Args:
        scores: Gives the scores of a recommender.
        asked: What is looked for.
        items: Number of items.
        cutoffs: Lengths of lists.
        batch_size: Users at once.
    """
    parts: dict[str, list[Tensor]] = {name: [] for name in METRICS}
    for _, values, is_relevant in batches(scores, asked, items, batch_size):
        top = values.topk(min(max(cutoffs), items), dim=1).indices
        hits = is_relevant.gather(1, top).float()
        found = metrics_of(hits, is_relevant.sum(1), cutoffs)
        for name in METRICS:
            parts[name].append(found[name])
    return {name: torch.cat(rows) for name, rows in parts.items()}


def metrics_of(hits: Tensor, counts: Tensor, cutoffs: Sequence[int] = CUTOFFS) -> dict[str, Tensor]:
    """Each metric from what stands at each rank; see the module.

    Args:
        hits: Whether the item at each rank counts, ``(users, ranks)`` of 0 and 1; lists that are shorter than a cut-off
            have no hits beyond their end.
        counts: How many items count for each user, ``(users,)``, at least 1.
        cutoffs: Lengths of lists.

    Returns:
        ``(users, cutoffs)`` by name.
    """
    longest = max(cutoffs)
    hits = torch.nn.functional.pad(hits, (0, max(0, longest - hits.shape[1])))[:, :longest]
    ranks = torch.arange(1, longest + 1, dtype=torch.float32)
    places = torch.tensor(cutoffs) - 1
    found, discounts = hits.cumsum(1), 1 / (ranks + 1).log2()
    ideal = discounts.cumsum(0)
    most = torch.minimum(counts[:, None], torch.tensor(cutoffs)[None])
    return {
        "recall": found[:, places] / counts[:, None],
        "precision": found[:, places] / ranks[places],
        "ndcg": (hits * discounts).cumsum(1)[:, places] / ideal[most - 1],
        "map": (hits * found / ranks).cumsum(1)[:, places] / most,
    }


def batches(scores: Scores, asked: Ranked, items: int, batch_size: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Users, their scores with what is left out at minus infinity, and which items count for them."""
    relevant, seen = _Rows(asked.relevant), _Rows(asked.seen)
    for users in asked.users.split(batch_size):
        values = scores(users)
        row, item = seen.of(users)
        values[row, item] = -torch.inf
        values[:, asked.barred] = -torch.inf
        is_relevant = torch.zeros(len(users), items, dtype=torch.bool)
        row, item = relevant.of(users)
        is_relevant[row, item] = True
        yield users, values, is_relevant


def percentiles(scores: Scores, asked: Ranked, items: int, *, batch_size: int = 512) -> tuple[Tensor, Tensor]:
    """How high each relevant item stands: the share of the ranked items that do not count which it outscores.

    Returns:
        The pairs ``(pairs, 2)`` in order of user, and their shares ``(pairs,)`` in [0, 1], ties counting half.
    """
    pairs, shares = [], []
    for users, values, is_relevant in batches(scores, asked, items, batch_size):
        others = values.masked_fill(is_relevant, -torch.inf).sort(1).values.contiguous()
        row, item = is_relevant.nonzero().unbind(1)
        own = values[row, item][:, None]
        ladder = others[row]
        low = torch.searchsorted(ladder, own, side="left")[:, 0]
        high = torch.searchsorted(ladder, own, side="right")[:, 0]
        left_out = torch.isinf(ladder).sum(1)
        below = (low + high).float() / 2 - left_out
        shares.append(below / (items - left_out).clamp_min(1))
        pairs.append(torch.stack([users[row], item], 1))
    return torch.cat(pairs), torch.cat(shares)


class _Rows:
    """Interactions by user."""

    def __init__(self, pairs: Tensor) -> None:
        """`pairs`: ``(pairs, 2)``."""
        order = pairs[:, 0].argsort(stable=True)
        self._users, self._items = pairs[order, 0].contiguous(), pairs[order, 1]

    def of(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """Row among `users`, which are sorted, and item of each of their interactions."""
        start = torch.searchsorted(self._users, users)
        counts = torch.searchsorted(self._users, users, side="right") - start
        rows = torch.arange(len(users)).repeat_interleave(counts)
        within = torch.arange(int(counts.sum())) - (counts.cumsum(0) - counts).repeat_interleave(counts)
        return rows, self._items[start.repeat_interleave(counts) + within]
