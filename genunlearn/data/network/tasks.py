"""A stream of requests: tasks of classes to be learnt one after the other, and what is to be forgotten in between.

learn:2             the classes of the third task; tasks are numbered from 0
forget:task:0       everything that is known of a task
forget:class:3      everything that is known of a class, or of several (``class:3,5``)
forget:random:0.1   a share or a number of all that is known, drawn by the seed
forget:index:FILE   rows of the training data, see `genunlearn.data.network.subsets`; mask:FILE likewise
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from genunlearn.data.archives import read_archive
from genunlearn.data.network.items import Item, as_items, classes_of
from genunlearn.data.network.subsets import listed, masked, random_subset
from genunlearn.errors import DataError, SourceNotFound

FORMS = "learn:TASK, forget:task:TASK, forget:class:CLASSES, forget:random:AMOUNT, forget:index:FILE, forget:mask:FILE"
ARRAYS = ("x_train", "y_train", "x_test", "y_test")
LARGEST_PIXEL = 255


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request of a stream.

    Attributes:
        text: As it was asked.
        kind: ``learn`` or ``forget``.
        task: Of ``learn``: the number of the task.
        items: What is to be learnt, or forgotten.
        is_whole: Whether nothing of the classes of `items` is known after it has been forgotten.
    """

    text: str
    kind: Literal["learn", "forget"]
    task: int
    items: Sequence[Item]
    is_whole: bool = False

    @property
    def ids(self) -> frozenset[str]:
        """Of the items."""
        return frozenset(item.id for item in self.items)

    @property
    def classes(self) -> tuple[int, ...]:
        """Of the items, sorted."""
        return tuple(classes_of(self.items))


def split_classes(classes: Sequence[int], tasks: int | Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    """The classes of each task.

    Args:
        classes: All that the data have, sorted.
        tasks: How many tasks of equally many classes, in order; or the classes of each.

    Raises:
        DataError: They cannot be shared out, a class stands in two tasks or does not occur, or a task has none.
    """
    if isinstance(tasks, int):
        size, over = divmod(len(classes), tasks)
        if over or not size:
            raise DataError(f"request.tasks = {tasks}: {len(classes)} classes cannot be shared out evenly; list them")
        return tuple(tuple(classes[start : start + size]) for start in range(0, len(classes), size))
    seen: set[int] = set()
    for number, own in enumerate(tasks):
        if not own:
            raise DataError(f"request.tasks: task {number} has no class")
        for label in own:
            if label not in classes:
                raise DataError(
                    f"request.tasks: class {label} does not occur; there are {', '.join(map(str, classes))}"
                )
            if label in seen:
                raise DataError(f"request.tasks: class {label} stands twice: a class belongs to one task")
            seen.add(label)
    if not tasks:
        raise DataError("request.tasks is empty: give a number of tasks, or the classes of each")
    return tuple(map(tuple, tasks))


def read_stream(
    train: Sequence[Item], tasks: Sequence[Sequence[int]], stream: Sequence[str], *, seed: int = 0
) -> tuple[Request, ...]:
    """Requests with their items, checked one after the other.

    Args:
        train: All items that tasks are made of.
        tasks: The classes of each task.
        stream: Requests in words, see the module.
        seed: Decides ``random``.

    Raises:
        DataError: A request cannot be read, learns a task twice, forgets what is not known then, or leaves nothing.
        SourceNotFound: A file of rows is not there.
    """
    if not stream:
        raise DataError(f"the stream is empty: give requests such as learn:0; known: {FORMS}")
    known: dict[str, tuple[Item, int]] = {}
    learnt: set[int] = set()
    found: list[Request] = []
    for number, text in enumerate(stream):
        kind, _, asked = text.partition(":")
        if kind == "learn":
            request = _learn(train, tasks, text, asked)
            if request.task in learnt:
                raise DataError(f"request {number + 1}, {text!r}: task {request.task} is learnt already")
            learnt.add(request.task)
            known |= {item.id: (item, request.task) for item in request.items}
        elif kind == "forget":
            try:
                items = _asked(train, known, asked, seed=seed + number)
            except DataError as error:
                raise DataError(f"request {number + 1}, {text!r}: {error}") from None
            for item in items:
                del known[item.id]
            if not known:
                raise DataError(
                    f"request {number + 1}, {text!r} leaves nothing that was learnt: start with fresh weights instead"
                )
            left = {int(item.target) for item, _ in known.values()}
            is_whole = left.isdisjoint(int(item.target) for item in items)
            request = Request(text=text, kind="forget", task=-1, items=items, is_whole=is_whole)
        else:
            raise DataError(f"request {number + 1}, {text!r}: it begins with learn or forget; known: {FORMS}")
        found.append(request)
    return tuple(found)


def without(requests: Sequence[Request], forgotten: frozenset[str]) -> tuple[Request | None, ...]:
    """What an oracle learns: the same tasks without what is forgotten, and None where there is nothing to do."""
    found: list[Request | None] = []
    for request in requests:
        items = [item for item in request.items if item.id not in forgotten] if request.kind == "learn" else []
        found.append(Request(text=request.text, kind="learn", task=request.task, items=items) if items else None)
    return tuple(found)


def read_pairs(path: Path | str) -> tuple[list[Item], list[Item]]:
    """Training and test pictures of a file with the arrays ``x_train``, ``y_train``, ``x_test``, ``y_test``.

    MNIST is handed around in this form. Bytes become numbers from -1 to 1, and a picture without a channel gets one.

    Raises:
        SourceNotFound: There is no such file.
        DataError: It holds other arrays, or something else.
    """
    path = Path(path)
    if not path.is_file():
        raise SourceNotFound(f"request.data = {str(path)!r}: no such file")
    parts = list(read_archive(path, ARRAYS, ", ".join(ARRAYS)).values())
    if wrong := [name for name, part in zip(ARRAYS, parts, strict=True) if part.dtype.kind not in "fiu"]:
        raise DataError(f"{path}: {wrong[0]!r} holds no numbers: give {', '.join(ARRAYS)}")
    train, test = (
        as_items((_pictures(x), y.astype(np.int64)), prefix=f"{name}-")
        for name, (x, y) in zip(("train", "test"), (parts[:2], parts[2:]), strict=True)
    )
    return train, test


def _pictures(values: np.ndarray) -> np.ndarray:
    scaled = values.astype(np.float32) / (LARGEST_PIXEL / 2) - 1 if values.dtype == np.uint8 else values
    return scaled[:, None] if scaled.ndim == 3 else scaled


def _learn(train: Sequence[Item], tasks: Sequence[Sequence[int]], text: str, asked: str) -> Request:
    number = _number(text, asked, "task")
    if not 0 <= number < len(tasks):
        raise DataError(f"{text!r}: there are tasks 0 to {len(tasks) - 1}")
    items = [item for item in train if int(item.target) in tasks[number]]
    return Request(text=text, kind="learn", task=number, items=items)


def _asked(train: Sequence[Item], known: dict[str, tuple[Item, int]], asked: str, *, seed: int) -> list[Item]:
    """The items that are to be forgotten, all of them known."""
    kind, _, value = asked.partition(":")
    items = [item for item, _ in known.values()]
    if not items and kind in ("task", "class", "random"):
        raise DataError("nothing is learnt at that point")
    if kind == "random":
        marked = random_subset(items, _amount(value), seed).tolist()
        return [item for item, flag in zip(items, marked, strict=True) if flag]
    if kind in ("task", "class"):
        numbers = [_number(asked, part, kind) for part in value.split(",")]
        of = {key: task if kind == "task" else int(item.target) for key, (item, task) in known.items()}
        there = sorted(set(of.values()))
        if strange := sorted(set(numbers) - set(there)):
            said = ", ".join(map(str, there))
            raise DataError(f"{kind} {strange[0]} is not known at that point of the stream; known: {said}")
        return [item for item in items if of[item.id] in numbers]
    if kind not in ("index", "mask"):
        raise DataError(f"{kind!r} is no kind of forget set; known: {FORMS}")
    marked = (listed if kind == "index" else masked)(train, value).tolist()
    rows = [row for row, flag in enumerate(marked) if flag]
    if not rows:
        raise DataError(f"{value} marks no item")
    if strange_rows := [row for row in rows if train[row].id not in known]:
        row = strange_rows[0]
        raise DataError(f"row {row} (item {train[row].id!r}) was never learnt up to there, or is forgotten already")
    return [train[row] for row in rows]


def _number(text: str, value: str, what: str) -> int:
    if not value.strip().isdecimal():
        raise DataError(f"{text!r}: {value!r} is no number of a {what}; known: {FORMS}")
    return int(value)


def _amount(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise DataError(f"{value!r} is no share or number") from None
