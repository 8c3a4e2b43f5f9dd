"""What players add as they come in one after the other: the draws behind the Shapley value and its relatives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from genunlearn.valuation.game import Floats, Game, Rows


def draw_orders(count: int, draws: int, seed: int) -> list[Rows]:
    """Random orders of `count` players."""
    generator = np.random.default_rng(seed)
    return [generator.permutation(count) for _ in range(draws)]


def marginals(game: Game, orders: Iterable[Sequence[int] | Rows], tolerance: float = 0.0) -> Iterator[Floats]:
    """What each player adds to those before it, one array an order, ``(players,)`` in the order of arrival.

    Args:
        game: The players.
        orders: Orders of all players.
        tolerance: Once what is still to be earned is at most this, those who come later are taken to add nothing; 0
            trains to the end.
    """
    whole = game(game.everyone)
    for order in orders:
        added, before = np.zeros(len(game)), game([])
        for place in range(len(game)):
            if tolerance and abs(whole - before) <= tolerance:
                break
            after = game(order[: place + 1])
            added[place] = after - before
            before = after
        yield added
