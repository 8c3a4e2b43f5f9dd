"""Synthetic rows in the place of retain items, where these may not be kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from genunlearn.config import MethodConfig
from genunlearn.data.network.items import Item, targets_of
from genunlearn.data.tables import FEWEST_ROWS, Column, Floats, Table
from genunlearn.domains.network.base import NetworkDomain
from genunlearn.errors import DataError
from genunlearn.runs.methods import build_generator
from genunlearn.synthesis.base import Generator
from genunlearn.synthesis.given import Given
from genunlearn.synthesis.tabsyndex import tabsyndex

FEW = 10
"""Different values that a column may have to be drawn as categories, so that no value comes up between them."""


def generator_of(config: MethodConfig) -> Generator:
    """The generator of a request.

    Raises:
        NameNotFound: There is none of that name.
        ConfigError: A hyper-parameter is wrong.
        DataError: It reads a file, whose columns items have no names for.
    """
    generator: Generator = build_generator(config, "request.generator.{}".format)
    if isinstance(generator, Given):
        raise DataError("request.generator.name = 'given': items have no column names; take another generator")
    return generator


def check_rows(items: Sequence[Item]) -> None:
    """Refuse items that are no rows of numbers.

    Raises:
        DataError: They are pictures, texts or targets of several numbers, or too few.
    """
    first = items[0]
    x = first.inputs.get("x")
    if first.inputs.keys() != {"x"} or x is None or x.dim() != 1 or not x.is_floating_point() or first.target.dim():
        raise DataError(
            "request.retain = 'synthetic': the items are no rows of a table (one row of numbers and one target each); "
            "use all or none"
        )
    if len(items) < FEWEST_ROWS:
        raise DataError(f"request.retain = 'synthetic': {len(items)} items, and at least {FEWEST_ROWS} are needed")


def synthetic_items(items: Sequence[Item], generator: Generator, seed: int) -> list[Item]:
    """As many synthetic items as there are `items`, learnt from these alone."""
    table, values = _table(items)
    drawn = generator.draw(table, len(items), seed).values
    for place, known in enumerate(values):
        if known is not None:
            drawn[:, place] = known[drawn[:, place].astype(int)]
    rows = torch.from_numpy(drawn)
    kind = items[0].target.dtype
    return [
        Item(id=f"synthetic-{number}", inputs={"x": row[:-1].float()}, target=row[-1].to(kind))
        for number, row in enumerate(rows)
    ]


def cost_of(model: NetworkDomain, real: Sequence[Item], fake: Sequence[Item], test: Sequence[Item]) -> dict[str, Any]:
    """What the synthetic items lack: their score, and how the original does on them and on the real ones."""
    said: dict[str, Any] = {}
    if len(test) >= FEWEST_ROWS:
        both, _ = _table([*real, *fake, *test])
        ends = np.cumsum([len(real), len(fake)])
        tables = [both.take(part) for part in np.split(np.arange(len(both)), ends)]
        score = tabsyndex(tables[0], tables[1], holdout=tables[2]).score
        said["TabSynDex of the synthetic retain rows"] = f"{score:.3f}"
    name = "error" if targets_of(real[:1]).is_floating_point() else "accuracy"
    said[f"original's {name} on them"] = f"{_level(model, fake):.3g}"
    said[f"original's {name} on the real ones"] = f"{_level(model, real):.3g}"
    return said


def _level(model: NetworkDomain, items: Sequence[Item]) -> float:
    outputs, targets = model.predict(items), targets_of(items)
    if targets.is_floating_point():
        return float((outputs[:, 0] - targets).abs().mean())
    return float((outputs.argmax(1) == targets).float().mean())


def _table(items: Sequence[Item]) -> tuple[Table, list[Floats | None]]:
    """Inputs and target as a table, and for columns of few values what its categories stand for."""
    rows = torch.stack([torch.cat([item.inputs["x"].double(), item.target.double().reshape(1)]) for item in items])
    values, columns, known = rows.numpy(), [], []
    is_class = not items[0].target.is_floating_point()
    coded = np.zeros_like(values)
    for place in range(values.shape[1]):
        found, codes = np.unique(values[:, place], return_inverse=True)
        is_category = len(found) <= FEW or (is_class and place == values.shape[1] - 1)
        columns.append(Column(f"x{place}", tuple(f"{value:g}" for value in found) if is_category else None))
        known.append(found if is_category else None)
        coded[:, place] = codes if is_category else values[:, place]
    return Table(columns=tuple(columns), values=coded, target=values.shape[1] - 1), known
