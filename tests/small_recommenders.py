"""A little service that tests know by heart: two groups of users, each with its own half of the items."""

from __future__ import annotations

from pathlib import Path

import torch

from genunlearn.data.recommender.interactions import Catalogue, as_interactions
from genunlearn.domains.recommender.adapter import Recommender
from genunlearn.domains.recommender.fitting import FitConfig, fit

USERS, ITEMS = 12, 24
CHOSEN, HELD = 6, 1


def small_catalogue() -> Catalogue:
    """Users of even number choose among the first half of the items, the others among the second."""
    generator = torch.Generator().manual_seed(0)
    parts: dict[str, list[tuple[int, int]]] = {"train": [], "valid": [], "test": []}
    for user in range(USERS):
        items = (torch.randperm(ITEMS // 2, generator=generator) + user % 2 * (ITEMS // 2)).tolist()
        parts["train"] += [(user, item) for item in items[:CHOSEN]]
        parts["valid"] += [(user, item) for item in items[CHOSEN : CHOSEN + HELD]]
        parts["test"] += [(user, item) for item in items[CHOSEN + HELD : CHOSEN + 2 * HELD]]
    half = (torch.arange(ITEMS) >= ITEMS // 2).long()
    noise = 0.1 * torch.randn(ITEMS, 4, generator=generator)
    return Catalogue(
        users=tuple(f"u{number}" for number in range(USERS)),
        items=tuple(f"i{number}" for number in range(ITEMS)),
        features={"image": torch.eye(4)[half] + noise, "text": torch.eye(4)[2 + half] + noise},
        **{name: torch.tensor(pairs) for name, pairs in parts.items()},
    )


def small_recommender(
    kind: str = "lightgcn", *, pairs: torch.Tensor | None = None, steps: int = 60, width: int = 8, **options
) -> Recommender:
    """One that has learnt `pairs`, by default all training interactions."""
    data = small_catalogue()
    known = data.train if pairs is None else pairs
    model = Recommender(kind, (USERS, ITEMS), known, features=data.features, width=width, layers=1, **options)
    fit(model, as_interactions(known), FitConfig(steps=steps, learning_rate=0.05, batch_size=64), seed=0)
    return model


def write_mmrec(folder: Path, data: Catalogue) -> None:
    """The catalogue as MMRec keeps it, without features."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["userID\titemID\trating\ttimestamp\tx_label"]
    for label, pairs in enumerate((data.train, data.valid, data.test)):
        rows += [f"{user}\t{item}\t5.0\t0\t{label}" for user, item in pairs.tolist()]
    (folder / "small.inter").write_text("\n".join(rows) + "\n")
