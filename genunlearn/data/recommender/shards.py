"""Dividing users into shards of one size whose members choose alike.

Source: Chen et al., "Recommendation Unlearning" (RecEraser, WWW 2022), the user-based balanced partition: k-means in
which the nearest pairs of user and centre are settled first, and a full shard takes nobody more. The paper's vectors
are those of a trained model; here they are the leading singular vectors of the interactions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from genunlearn.data.recommender.interactions import Catalogue
from genunlearn.errors import DataError

WIDTH = 16
ROUNDS = 10


def user_shards(catalogue: Catalogue, count: int, *, seed: int = 0) -> Tensor:
    """The number of each user's shard, ``(users,)``.

    Raises:
        DataError: There are fewer users than shards.
    """
    sizes = len(catalogue.users), len(catalogue.items)
    if not 1 <= count <= sizes[0]:
        raise DataError(f"{count} shards of {sizes[0]:,} users: ask for 1 to {sizes[0]:,}")
    chosen = torch.zeros(sizes)
    chosen[catalogue.train[:, 0], catalogue.train[:, 1]] = 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        left, strength, _ = torch.svd_lowrank(chosen, q=min(WIDTH, *sizes), niter=4)
        return balanced_shards(left * strength, count, seed=seed)


def balanced_shards(vectors: Tensor, count: int, *, seed: int = 0) -> Tensor:
    """Shards whose sizes differ by no more than rounding, ``(rows,)`` numbers from 0.

    Args:
        vectors: ``(rows, numbers)``.
        count: How many shards.
        seed: Of the first centres.
    """
    rows = len(vectors)
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    centres = vectors[order[:count]].clone()
    shards = torch.zeros(rows, dtype=torch.long)
    for _ in range(ROUNDS):
        settled = _settle(torch.cdist(vectors, centres), -(-rows // count))
        if torch.equal(settled, shards):
            break
        shards = settled
        for number in range(count):
            if (own := vectors[shards == number]).numel():
                centres[number] = own.mean(0)
    return shards


def _settle(distances: Tensor, most: int) -> Tensor:
    """Each row's column, the nearest pairs first and at most `most` rows a column."""
    rows, columns = distances.shape
    places, room = [-1] * rows, [most] * columns
    for flat in distances.flatten().argsort(stable=True).tolist():
        row, column = divmod(flat, columns)
        if places[row] < 0 and room[column]:
            places[row] = column
            room[column] -= 1
    return torch.tensor(places)
