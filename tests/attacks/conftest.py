"""A little world of attacks: three clouds of points, a network that learnt them all, two that never saw one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from genunlearn.attacks.network.base import AttackContext
from genunlearn.contracts import Beside, Splits
from genunlearn.data.network.items import Item, as_items
from genunlearn.domains.network.classifier import Classifier
from genunlearn.domains.network.fitting import FitConfig, fit

CENTRES = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 2.0]])
FORGOTTEN = 2


@dataclass
class Clouds:
    """What a test asks for: the networks and the data of forgetting the third cloud."""

    original: Classifier
    oracles: tuple[Classifier, ...]
    splits: Splits

    def beside(self, oracles: Sequence[Classifier] | None = None) -> Beside[Classifier]:
        """The original, and the oracles or some others, beside an attacked network."""
        return Beside(lambda: self.original, lambda: self.oracles if oracles is None else oracles)


def draw(count: int, seed: int, prefix: str) -> list[Item]:
    labels = torch.arange(count) % 3
    noise: Tensor = torch.randn(count, 2, generator=torch.Generator().manual_seed(seed))
    return as_items((CENTRES[labels] + 0.5 * noise, labels), prefix=prefix)


def teach(items: list[Item], seed: int) -> Classifier:
    domain = Classifier(nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 3)))
    domain.reinitialise(seed)
    fit(domain, items, FitConfig(epochs=20, learning_rate=0.02, batch_size=32), seed=seed)
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
        context=AttackContext(test=test),
    )
    return Clouds(original, oracles, splits)
