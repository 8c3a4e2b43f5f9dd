"""Ordinary training of a graph network, for what is taught before anything is forgotten: all items in every step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from genunlearn.contracts import Examples
from genunlearn.domains.graph.adapter import GraphModel


@dataclass(frozen=True, kw_only=True)
class GraphFit:
    """How a network is taught.

    Attributes:
        epochs: Steps over all items.
        learning_rate: Of AdamW.
        weight_decay: Of AdamW.
    """

    epochs: int = 200
    learning_rate: float = 0.01
    weight_decay: float = 5e-4


def fit(
    model: GraphModel,
    items: Sequence[Any],
    settings: GraphFit,
    *,
    seed: int,
    non_links: Callable[[], Tensor] | None = None,
) -> float:
    """Teach a network in place and leave it in evaluation mode.

    Args:
        model: The network, trained from the weights that it has.
        items: What it is taught.
        settings: How.
        seed: Decides dropout; the caller's random state is left alone.
        non_links: Draws the pairs without a link of each epoch, ``(pairs, 2)``, where links are taught.

    Returns:
        The mean loss of the last epoch.
    """
    weights = model.module.parameters()
    optimizer = torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    examples, loss = model.collate(items), torch.zeros(())
    model.module.train()
    with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(seed)
        for _ in range(settings.epochs):
            batch = _with_pairs(examples, non_links().to(model.device)) if non_links else examples
            loss = model.example_loss(batch).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.module.eval()
    return float(loss.detach())


def _with_pairs(links: Examples, pairs: Tensor) -> Examples:
    """The same links, and pairs without one."""
    tensors = {
        "nodes": torch.cat([links["nodes"], pairs]),
        "target": torch.cat([links["target"], torch.zeros_like(pairs[:, 0])]),
    }
    ids = (*links.ids, *(f"no link {n}" for n in range(len(pairs))))
    return Examples(ids, torch.cat([links.weight, torch.ones_like(pairs[:, 0], dtype=links.weight.dtype)]), tensors)
