"""Teaching a recommender, for what is taught before anything is forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from genunlearn.contracts import Examples
from genunlearn.domains.recommender.adapter import LearntInteraction, Recommender


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """How a recommender is taught.

    Attributes:
        steps: Updates of Adam.
        learning_rate: Of Adam.
        batch_size: Interactions an update.
    """

    steps: int
    learning_rate: float = 0.01
    batch_size: int = 1024


def fit(
    model: Recommender, interactions: Sequence[LearntInteraction], settings: FitConfig, *, seed: int = 0
) -> list[float]:
    """Teach a recommender in place and leave it in evaluation mode.

    Args:
        model: The recommender, taught from the weights that it has.
        interactions: What it is taught.
        settings: How.
        seed: Decides the order and the items that are compared with; the caller's random state is left alone.

    Returns:
        The loss of each step.
    """
    optimizer = torch.optim.Adam(model.network.parameters(), lr=settings.learning_rate)
    everything, size = model.collate(interactions), min(settings.batch_size, len(interactions))
    order = torch.Generator().manual_seed(seed)
    queue, losses = torch.empty(0, dtype=torch.long), []
    model.module.train()
    with torch.random.fork_rng(devices=[]):
        for step in range(settings.steps):
            if len(queue) < size:
                queue = torch.cat([queue, torch.randperm(len(interactions), generator=order)])
            rows, queue = queue[:size], queue[size:]
            torch.manual_seed((seed << 32) + step)
            loss = model.example_loss(_take(everything, rows)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
    model.module.eval()
    return torch.stack(losses).tolist()


def _take(examples: Examples, rows: torch.Tensor) -> Examples:
    ids = tuple(examples.ids[row] for row in rows.tolist())
    picked = rows.to(examples.weight.device)
    return Examples(ids, examples.weight[picked], {name: t[picked] for name, t in examples.tensors.items()})
