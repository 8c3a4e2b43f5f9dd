"""The table of a synthetic run: what is learnt from, what of it is to be forgotten, and what no generator sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from genunlearn.config.network import NetworkSyntheticConfig, SyntheticRequestConfig
from genunlearn.data.network.items import Item
from genunlearn.data.network.subsets import ADVERSARIAL, choose
from genunlearn.data.rows import shown
from genunlearn.data.tables import (
    FEWEST_ROWS,
    Reading,
    Table,
    as_number,
    as_table,
    find_target,
    is_blank,
    read_columns,
    text_of,
)
from genunlearn.errors import ConfigError, DataError
from genunlearn.records import hash_json
from genunlearn.registry import unknown_name

BUNDLED = "sklearn:"
SETS = ("breast_cancer", "diabetes", "iris", "wine")
MOST_CLASSES = 20
"""Different whole numbers that a target may have to count as classes where nobody says."""
OF_A_KIND = ("class", "range")

Cells = Mapping[str, Sequence[Any]]


@dataclass(frozen=True, kw_only=True)
class SyntheticData:
    """Rows by what may be done with them.

    Attributes:
        learnt: Everything that a generator may have learnt from before the request.
        forget: Which of these are to be forgotten, ``(rows,)``.
        held_out: Rows that no generator sees, for estimators and as a control.
        control: Held-out rows that forgotten ones are compared with: of their kind, where they are of one.
        left_out: Rows of the table that are not used.
    """

    learnt: Table
    forget: NDArray[np.bool_]
    held_out: Table
    control: Table
    left_out: int

    @property
    def forgotten(self) -> Table:
        """What is to be forgotten."""
        return self.learnt.take(self.forget)

    @property
    def retained(self) -> Table:
        """What may still be learnt from."""
        return self.learnt.take(~self.forget)

    @property
    def sha256(self) -> str:
        """Hash of all values and of what is marked."""
        columns = [(column.name, column.levels) for column in self.learnt.columns]
        sides = [[repr(row) for row in side.values.tolist()] for side in (self.learnt, self.held_out)]
        return hash_json([columns, sides, self.forget.tolist()])


def read_synthetic(config: NetworkSyntheticConfig) -> SyntheticData:
    """Read, check and divide the table of a run.

    Raises:
        ConfigError: No table is named.
        DataError: It cannot be used, or the request marks nothing or leaves too little.
        SourceNotFound: It is not there.
    """
    asked, is_class = config.request, config.domain == "classifier"
    cells = read_cells(asked)
    target = find_target([name for name in cells if name not in asked.drop], asked.target, str(asked.data))
    reading = Reading(
        target=target,
        drop=asked.drop,
        categories=(*asked.categories, target) if is_class else asked.categories,
        numbers=() if is_class else (target,),
    )
    if not is_class and target in asked.categories:
        raise ConfigError(f"request.categories names the target {target!r}: for classes take domain = classifier")
    whole = as_table(cells, reading, str(asked.data))
    order = np.random.default_rng(config.seed).permutation(len(whole))[: asked.limit]
    held = max(round(config.evaluate.held_out * len(order)), 2)
    learnt, held_out = whole.take(np.sort(order[held:])), whole.take(np.sort(order[:held]))
    forget = mark(learnt, asked.forget, config.seed)
    control = held_out.take(_of_its_kind(held_out, asked.forget))
    data = SyntheticData(
        learnt=learnt, forget=forget, held_out=held_out, control=control, left_out=len(whole) - len(order)
    )
    _check(data, asked.forget)
    return data


def read_cells(asked: SyntheticRequestConfig) -> Cells:
    """Cells by column of a bundled table or of a file; errors as in `read_synthetic`."""
    if not asked.data:
        raise ConfigError("request.data is empty: name sklearn:wine or a file (--data)")
    if asked.data.startswith(BUNDLED):
        return _bundled(asked.data.removeprefix(BUNDLED))
    return read_columns(asked.data)


def guess_domain(asked: SyntheticRequestConfig) -> str:
    """Whether the target holds classes (texts, or few whole numbers) or numbers to predict; errors as above."""
    cells = read_cells(asked)
    target = find_target([name for name in cells if name not in asked.drop], asked.target, str(asked.data))
    numbers = [as_number(text) for text in map(text_of, cells[target]) if not is_blank(text)]
    is_whole = all(number is not None and number.is_integer() for number in numbers)
    is_text = any(number is None for number in numbers)
    return "classifier" if is_text or (is_whole and len(set(numbers)) <= MOST_CLASSES) else "regression"


def _bundled(name: str) -> Cells:
    from sklearn import datasets

    if name not in SETS:
        raise unknown_name("table of scikit-learn", name, SETS)
    loaders: Mapping[str, Callable[..., Any]] = {each: getattr(datasets, f"load_{each}") for each in SETS}
    found = loaders[name](scaled=False) if name == "diabetes" else loaders[name]()
    cells: dict[str, Sequence[Any]] = {
        str(column): values.tolist() for column, values in zip(found.feature_names, found.data.T, strict=True)
    }
    names = found.get("target_names")
    cells["target"] = found.target.tolist() if names is None else [str(names[number]) for number in found.target]
    return cells


def mark(table: Table, request: str, seed: int) -> NDArray[np.bool_]:
    """Which rows a request such as ``random:0.1`` or ``class:malignant`` means, ``(rows,)``.

    Raises:
        DataError: It cannot be read, needs a trained model, or marks nothing or everything.
    """
    if request.partition(":")[0] in ADVERSARIAL:
        raise DataError(f"forget set {request!r} ranks rows by a trained model: take random:, class:, index: or mask:")
    levels = table.columns[table.target].levels
    targets = torch.from_numpy(table.values[:, table.target])
    targets = targets.float() if levels is None else targets.long()
    items = [Item(id=str(row), inputs={}, target=target) for row, target in enumerate(targets)]
    found: NDArray[np.bool_] = choose(items, _by_number(request, levels), seed=seed).numpy()
    return found


def _by_number(request: str, levels: Sequence[str] | None) -> str:
    """``class:malignant`` with the number of the class in place of its name."""
    kind, _, names = request.partition(":")
    if kind != "class" or levels is None:
        return request
    for name in (wanted := names.split(",")):
        if name not in levels:
            raise DataError(f"forget set {request!r}: no class {shown(name)}; there are {', '.join(levels[:20])}")
    return f"class:{','.join(str(levels.index(name)) for name in wanted)}"


def _of_its_kind(table: Table, request: str) -> NDArray[np.bool_]:
    """Rows that compare with the forgotten ones: those of their class or range, else all."""
    if request.partition(":")[0] not in OF_A_KIND:
        return np.ones(len(table), dtype=bool)
    try:
        return mark(table, request, 0)
    except DataError:
        return np.zeros(len(table), dtype=bool)


def _check(data: SyntheticData, request: str) -> None:
    if len(data.retained) < FEWEST_ROWS:
        raise DataError(f"{request} leaves {len(data.retained)} rows to learn from: at least {FEWEST_ROWS} are needed")
    if len(data.control) < 2:
        raise DataError(
            f"{request}: {len(data.control)} held-out rows are of its kind, and the forgotten ones are compared with "
            "these: raise evaluate.held_out"
        )
    kept = data.retained.values[:, data.retained.target]
    if len(np.unique(kept)) < 2:
        raise DataError(f"{request} leaves rows whose target is the same in all: nothing could be predicted")
