"""What is to be forgotten: a random subset, a class, a sub-class, a file of indices, a mask, a range, the hardest.

Every chooser marks items: it returns a boolean tensor ``(items,)``. `choose` reads a request such as ``class:3``.

    random:0.1  random:100      a share or a number of items, drawn by the seed
    class:3  class:3,5          items of these classes
    subclass:7                  items of these sub-classes
    range:60..  range:20..30    items whose target lies in the range (regression)
    index:rows.txt              row numbers, one a line, or a list in .json or .npy
    mask:rows.npy               one boolean for each row
    confidence:100              adversarial: what the model is surest of
    influence:0.05              adversarial: what has shaped the model most
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genunlearn.contracts import Splits
from genunlearn.data.archives import NO_ARCHIVE, why_none
from genunlearn.data.network.items import Item, classes_of, targets_of
from genunlearn.data.rows import check_is_file
from genunlearn.errors import DataError, SourceNotFound

ADVERSARIAL = ("confidence", "influence")
KINDS = ("random", "class", "subclass", "range", "index", "mask", *ADVERSARIAL)

Scores = Callable[[str], Tensor]


def random_subset(items: Sequence[Item], amount: float, seed: int = 0) -> Tensor:
    """Mark items drawn without replacement; `amount` as in `amount_of`."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(items), generator=generator)
    return _marked(len(items), order[: amount_of(amount, len(items))])


def of_class(items: Sequence[Item], classes: Sequence[int]) -> Tensor:
    """Mark the items of `classes`.

    Raises:
        DataError: A class does not occur.
    """
    _refuse_unknown("class", classes, classes_of(items))
    return torch.isin(targets_of(items), torch.tensor(list(classes)))


def of_subclass(items: Sequence[Item], subclasses: Sequence[int]) -> Tensor:
    """Mark the items of `subclasses`.

    Raises:
        DataError: The data has no sub-classes, or one of `subclasses` does not occur.
    """
    known = sorted({item.subclass for item in items if item.subclass is not None})
    if not known:
        raise DataError("subclass asked of a data set without sub-classes: use class:, or give a third part with them")
    _refuse_unknown("subclass", subclasses, known)
    return torch.tensor([item.subclass in subclasses for item in items])


def in_range(items: Sequence[Item], low: float = -torch.inf, high: float = torch.inf) -> Tensor:
    """Mark the items whose target is at least `low` and at most `high`.

    Raises:
        DataError: The targets are classes or vectors, or no item lies in the range.
    """
    targets = targets_of(items)
    if not targets.is_floating_point() or targets[0].numel() != 1:
        raise DataError("a value range needs one real-valued target for each item: use class: for classes")
    values = targets.flatten()
    marked = (values >= low) & (values <= high)
    if not marked.any():
        raise DataError(
            f"range {low:g}..{high:g} holds no item: targets lie between {values.min():g} and {values.max():g}"
        )
    return marked


def listed(items: Sequence[Item], path: Path | str) -> Tensor:
    """Mark the rows whose numbers a file lists (one a line, ``.json`` or ``.npy``).

    Raises:
        SourceNotFound: There is no such file.
        DataError: It holds something else than row numbers of this data set.
    """
    rows = _read_array(path)
    if not np.issubdtype(rows.dtype, np.integer):
        raise DataError(f"{path}: row numbers are whole numbers, found {rows.dtype}")
    outside = rows[(rows < 0) | (rows >= len(items))]
    if len(outside):
        raise DataError(f"{path}: row {outside[0]} is outside 0..{len(items) - 1}")
    return _marked(len(items), torch.from_numpy(rows.astype(np.int64)))


def masked(items: Sequence[Item], mask: Any) -> Tensor:
    """Mark the items for which `mask` is true.

    Args:
        items: The data set.
        mask: One boolean for each item: tensor, array, list, or a file of them.

    Raises:
        SourceNotFound: There is no such file.
        DataError: `mask` is not boolean or has another length.
    """
    values = _read_array(mask) if isinstance(mask, str | Path) else np.asarray(mask)
    if values.dtype != bool or values.shape != (len(items),):
        raise DataError(
            f"a mask of type {values.dtype} and shape {values.shape}: give {len(items)} booleans, one for each item"
        )
    return torch.from_numpy(values.copy())


def hardest(scores: Tensor, amount: float) -> Tensor:
    """Mark the items of the highest scores (see `genunlearn.data.network.hardness`); `amount` as in `amount_of`."""
    return _marked(len(scores), scores.argsort(descending=True, stable=True)[: amount_of(amount, len(scores))])


def choose(items: Sequence[Item], request: str, *, seed: int = 0, scores: Scores | None = None) -> Tensor:
    """Mark what a request in words asks for; see the module for its forms.

    Args:
        items: The data set.
        request: ``kind:value``.
        seed: Decides ``random``.
        scores: Gives the difficulty of each item by the name of its measure, for the adversarial kinds.

    Raises:
        DataError: The request cannot be read, or marks nothing or everything.
    """
    kind, colon, value = request.partition(":")
    if not colon or kind not in KINDS:
        raise DataError(f"forget set {request!r}: write it as KIND:VALUE with KIND one of {', '.join(KINDS)}")
    if kind in ADVERSARIAL:
        if scores is None:
            raise DataError(f"forget set {request!r} needs a trained model to rank items by: give scores=")
        marked = hardest(scores(kind), _amount(request, value))
    elif kind == "random":
        marked = random_subset(items, _amount(request, value), seed)
    elif kind == "range":
        marked = in_range(items, *_bounds(request, value))
    elif kind in ("class", "subclass"):
        numbers = [_whole_number(request, part) for part in value.split(",")]
        marked = (of_class if kind == "class" else of_subclass)(items, numbers)
    else:
        marked = (listed if kind == "index" else masked)(items, value)
    _refuse_trivial(marked, request)
    return marked


def divide(
    items: Sequence[Item], marked: Tensor, *, holdout: Sequence[Item] | None = None, context: Any = None
) -> Splits:
    """Split a data set into what is to be forgotten (`marked`) and what is to be retained.

    Raises:
        DataError: Nothing or everything is marked.
    """
    _refuse_trivial(marked, "the mask")
    flags = marked.tolist()
    forget = [item for item, flag in zip(items, flags, strict=True) if flag]
    retain = [item for item, flag in zip(items, flags, strict=True) if not flag]
    return Splits(forget=forget, retain=retain, holdout=holdout, context=context)


def matching(items: Sequence[Item], request: str) -> list[Item]:
    """Those of `items` that are of the request's kind: comparable to the forget set, and never trained on.

    A class, sub-class or value range has its counterparts among test items; to any other forget set every test item
    compares.
    """
    if request.partition(":")[0] not in ("class", "subclass", "range"):
        return list(items)
    return [item for item, flag in zip(items, choose(items, request).tolist(), strict=True) if flag]


def amount_of(amount: float, count: int) -> int:
    """How many of `count` items `amount` means: a share if it is below 1, their number otherwise.

    Raises:
        DataError: It is not positive, no whole number from 1 on, or more than there are.
    """
    number = round(amount * count) if 0 < amount < 1 else amount
    if not 1 <= number <= count or number != int(number):
        raise DataError(
            f"amount = {amount:g} of {count} items: give a share between 0 and 1, or a number up to {count}"
        )
    return int(number)


def _marked(count: int, rows: Tensor) -> Tensor:
    marked = torch.zeros(count, dtype=torch.bool)
    marked[rows] = True
    return marked


def _refuse_unknown(kind: str, asked: Sequence[int], known: Sequence[int]) -> None:
    if missing := sorted(set(asked) - set(known)):
        raise DataError(f"{kind} {missing[0]} does not occur; there are {', '.join(map(str, known))}")


def _refuse_trivial(marked: Tensor, request: str) -> None:
    if not marked.any():
        raise DataError(f"{request} marks no item: a forget set needs at least one")
    if marked.all():
        raise DataError(f"{request} marks all {len(marked)} items: nothing would be left to retain")


def _number(request: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise DataError(f"forget set {request!r}: {text!r} is not a number") from None


def _amount(request: str, text: str) -> float:
    """A share below 1 or a number of items; 1.0, which may be meant as either, is refused."""
    amount = _number(request, text)
    if amount == 1 and text.strip() != "1":
        raise DataError(f"forget set {request!r}: {text} is one item or all: write 1 for one, or a share below 1")
    return amount


def _whole_number(request: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise DataError(f"forget set {request!r}: {text!r} is no whole number; classes are numbered") from None


def _bounds(request: str, text: str) -> tuple[float, float]:
    low, dots, high = text.partition("..")
    if not dots:
        raise DataError(f"forget set {request!r}: write a range as LOW..HIGH, LOW.. or ..HIGH")
    return (
        _number(request, low) if low else -torch.inf,
        _number(request, high) if high else torch.inf,
    )


def _read_array(path: Path | str) -> np.ndarray:
    path = Path(path)
    if not path.exists():
        raise SourceNotFound(f"no file {path}: give a list of rows as text, .json or .npy")
    check_is_file(path)
    try:
        if path.suffix == ".npy":
            rows = np.load(path, allow_pickle=False).reshape(-1)
        else:
            text = path.read_text(encoding="utf-8")
            rows = np.array(json.loads(text) if path.suffix == ".json" else [int(line) for line in text.split()])
    except NO_ARCHIVE as error:
        raise DataError(f"{path}: not a list of rows ({why_none(error)})") from error
    if not rows.size:
        raise DataError(f"{path}: no rows are listed in it; list at least one")
    return rows.reshape(-1)
