"""Drawing by hash: a number for each example that depends on the seed and the example, not on its batch."""

from __future__ import annotations

import torch
from torch import Tensor

ATTEMPTS = 32
GOLDEN = -7046029254386353131
"""2**64 divided by the golden ratio, as a signed number."""
MIXERS = (-49064778989728563, -4265267296055464877)
"""Of MurmurHash3's last step, as signed numbers."""


def mixed(keys: Tensor) -> Tensor:
    """Numbers without a pattern for numbers with one, ``int64``; the last step of MurmurHash3.

    Source: Appleby, MurmurHash3 (public domain), ``fmix64``.
    """
    for factor in MIXERS:
        keys = (keys ^ _shifted(keys)) * factor
    return keys ^ _shifted(keys)


def draw_unknown(user: Tensor, item: Tensor, known: Tensor, items: int, seed: int) -> Tensor:
    """An item for each pair that its user does not know, evenly among all of them.

    Args:
        user: Numbers of the users, ``(batch,)``.
        item: Numbers of the items that stand beside them, ``(batch,)``; two pairs draw independently.
        known: Sorted keys ``user * items + item`` of what is known.
        items: Number of items.
        seed: What is drawn is a function of the seed and the pair.

    Returns:
        ``(batch,)``; of a user who knows nearly everything perhaps a known item, after `ATTEMPTS` attempts.
    """
    start = mixed(mixed(user * items + item) + seed % 2**63)
    tries = mixed(start[:, None] + torch.arange(1, ATTEMPTS + 1) * GOLDEN)
    drawn = (tries & (2**63 - 1)) % items
    keys = user[:, None] * items + drawn
    places = torch.searchsorted(known, keys).clamp_max(max(len(known) - 1, 0))
    is_known = known[places] == keys if len(known) else torch.zeros_like(keys, dtype=torch.bool)
    first = (~is_known).int().argmax(1)
    return drawn.gather(1, first[:, None])[:, 0]


def _shifted(keys: Tensor) -> Tensor:
    """Shifted right by 33 places, with zeros on the left."""
    return (keys >> 33) & (2**31 - 1)
