"""A little world of attacks: three clouds of points, a network that learnt them all, two that never saw one of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from genunlearn.attacks.network.base import Company
from genunlearn.contracts import Splits
from genunlearn.data.network.items import Item, as_items
from genunlearn.domains.network.classifier import Classifier
from genunlearn.domains.network.fitting import Lessons, fit

CENTRES = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 2.0]])
FORGOTTEN = 2


@dataclass
class Clouds:
    """What a test asks for: the networks and the data of forgetting the third cloud."""

    original: Classifier
    oracles: tuple[Classifier, ...]
    splits: Splits

    def alone(self, **changes: object) -> Splits:
        """The data with another company."""
        return replace(self.splits, context=replace(self.splits.context, **changes))


def draw(count: int, seed: int, prefix: str) -> list[Item]:
    labels = torch.arange(count) % 3
    noise: Tensor = torch.randn(count, 2, generator=torch.Generator().manual_seed(seed))
    return as_items((CENTRES[labels] + 0.5 * noise, labels), prefix=prefix)


def teach(items: list[Item], seed: int) -> Classifier:
    domain = Classifier(nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 3)))
    domain.reinitialise(seed)
    fit(domain, items, Lessons(epochs=20, learning_rate=0.02, batch_size=32), seed=seed)
    return domain


@pytest.fixture(scope="session")
def clouds() -> Clouds:
    """The world, made once; attacks leave it as it is, which is one of the tests."""
    train, test = draw(180, 0, "train-"), draw(90, 1, "test-")
    retain = [item for item in train if int(item.target) != FORGOTTEN]
    oracles = tuple(teach(retain, seed) for seed in (1, 2))
    original = teach(train, 0)
    splits = Splits(
        forget=[item for item in train if int(item.target) == FORGOTTEN],
        retain=retain,
        holdout=[item for item in test if int(item.target) == FORGOTTEN],
        context=Company(test=test, original=original, oracles=oracles),
    )
    return Clouds(original, oracles, splits)
