"""Who has chosen what: interactions by number of user and item, split into train, valid and test."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from genunlearn.errors import DataError


@dataclass(frozen=True, slots=True)
class Interaction:
    """One user's choice of one item.

    Attributes:
        user: Number of the user.
        item: Number of the item.
        negative: An item that it is compared with in training; one that the user does not know is drawn if None.
    """

    user: int
    item: int
    negative: int | None = None

    @property
    def id(self) -> str:
        """User and item; a user counts as choosing an item once."""
        return f"u{self.user}-i{self.item}"


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """Users, items and their interactions.

    Attributes:
        users: Names of the users, by number.
        items: Names of the items, by number.
        train: Interactions to learn from, ``(pairs, 2)`` numbers of user and item, each pair once.
        valid: Those that a strength is judged by, none of which is in `train`.
        test: Those of the final numbers, none of which is in the others.
        features: Of the items, by modality, each ``(items, numbers)`` in float32.
    """

    users: tuple[str, ...]
    items: tuple[str, ...]
    train: Tensor
    valid: Tensor
    test: Tensor
    features: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what does not fit together.

        Raises:
            DataError: A number is that of no user or item, a pair stands twice, or features do not fit the items.
        """
        if not self.users or not self.items or not len(self.train):
            raise DataError("a catalogue without users, items or training interactions: give at least one of each")
        parts = {"train": self.train, "valid": self.valid, "test": self.test}
        for name, pairs in parts.items():
            _check_range(name, pairs, (len(self.users), len(self.items)))
        keys = torch.cat([self.keys(pairs) for pairs in parts.values()])
        values, counts = keys.unique(return_counts=True)
        if (counts > 1).any():
            user, item = divmod(int(values[counts > 1][0]), len(self.items))
            raise DataError(
                f"user {self.users[user]!r} and item {self.items[item]!r} stand together more than once, in one split "
                "or in two: keep each pair once"
            )
        for name, rows in self.features.items():
            if len(rows) != len(self.items):
                raise DataError(
                    f"{name} features of {len(rows)} items, and the interactions have {len(self.items)}: give one row "
                    "for each item, in the order of its numbers"
                )

    def keys(self, pairs: Tensor) -> Tensor:
        """One number for each pair, ``(pairs,)``."""
        return pairs[:, 0] * len(self.items) + pairs[:, 1]

    @property
    def sha256(self) -> str:
        """Hash of everything that a model could learn or be measured by."""
        digest = hashlib.sha256(repr((self.users, self.items, sorted(self.features))).encode())
        features = (self.features[name] for name in sorted(self.features))
        for tensor in (self.train, self.valid, self.test, *features):
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()


def as_interactions(pairs: Tensor) -> list[Interaction]:
    """What is trained on, from ``(pairs, 2)`` numbers."""
    return [Interaction(user, item) for user, item in pairs.tolist()]


def as_pairs(interactions: Sequence[Interaction]) -> Tensor:
    """Numbers of user and item, ``(pairs, 2)``."""
    return torch.tensor([[one.user, one.item] for one in interactions], dtype=torch.long).reshape(-1, 2)


def _check_range(name: str, pairs: Tensor, sizes: tuple[int, int]) -> None:
    if pairs.dim() != 2 or pairs.shape[1] != 2 or pairs.dtype != torch.long:
        raise DataError(f"{name} interactions of shape {tuple(pairs.shape)} and type {pairs.dtype}: give (pairs, 2)")
    for column, (kind, size) in enumerate(zip(("user", "item"), sizes, strict=True)):
        if len(pairs) and not 0 <= int(pairs[:, column].min()) <= int(pairs[:, column].max()) < size:
            raise DataError(f"{name} interactions name a {kind} outside of 0 to {size - 1}")
