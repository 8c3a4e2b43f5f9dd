"""Ordinary supervised training of a network, for what is taught before anything is forgotten.

Labs, reference models of membership attacks and the partly taught network of blindspot unlearning come from here.
Unlearning itself goes through the engine's loop, which also knows sides, references and resuming.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from genunlearn.contracts import Examples
from genunlearn.domains.network.base import LabelledItem, NetworkDomain


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """How a network is taught.

    Attributes:
        epochs: Passes over the items.
        learning_rate: Peak rate of AdamW.
        batch_size: Items a step; a last batch of one item is left out, since BatchNorm cannot learn from it.
        weight_decay: Of AdamW.
        warm_share: Share of the steps over which the rate rises to its peak, to fall to 0 afterwards; None keeps it
            constant.
    """

    epochs: int
    learning_rate: float
    batch_size: int = 64
    weight_decay: float = 0.0
    warm_share: float | None = 0.25


def fit(domain: NetworkDomain, items: Sequence[LabelledItem], settings: FitConfig, *, seed: int) -> list[float]:
    """Teach a network in place and leave it in evaluation mode.

    Args:
        domain: The network, trained from the weights that it has.
        items: Labelled items.
        settings: How it is taught.
        seed: Decides the order of the items and dropout; the caller's random state is left alone.

    Returns:
        The mean loss of each epoch.
    """
    weights = [weight for weight in domain.network.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    everything = domain.collate(items)
    size = min(settings.batch_size, len(items))
    total = settings.epochs * -(-len(items) // size)
    means, step = [], 0
    domain.module.train()
    with torch.random.fork_rng(devices=[domain.device] if domain.device.type == "cuda" else []):
        torch.manual_seed(seed)
        for _ in range(settings.epochs):
            losses = []
            for rows in _batches(len(items), size):
                for group in optimizer.param_groups:
                    group["lr"] = settings.learning_rate * _shape((step + 0.5) / total, settings.warm_share)
                loss = domain.example_loss(_take(everything, rows)).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.detach())
                step += 1
            means.append(float(torch.stack(losses).mean()))
    domain.module.eval()
    return means


def _batches(count: int, size: int) -> Iterator[Tensor]:
    parts = torch.randperm(count).split(size)
    return (rows for rows in parts if len(rows) > 1 or len(parts) == 1)


def _take(examples: Examples, rows: Tensor) -> Examples:
    picked = rows.to(examples.weight.device)
    ids = tuple(examples.ids[row] for row in rows.tolist())
    return Examples(ids, examples.weight[picked], {name: t[picked] for name, t in examples.tensors.items()})


def _shape(progress: float, warm_share: float | None) -> float:
    """The rate at `progress` of the training, as a share of its peak."""
    if warm_share is None:
        return 1.0
    return progress / warm_share if progress < warm_share else (1 - progress) / (1 - warm_share)
