"""What is to be forgotten, in one word: ``users:0.05``, ``items:i12,i40``, ``pairs:u3/i12``, ``users:@FILE``.

A user, or an item whose licence is withdrawn, goes with all training interactions; a pair goes by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import torch
from torch import Tensor

from genunlearn.data.recommender.interactions import Catalogue
from genunlearn.errors import DataError, SourceNotFound

KINDS = ("users", "items", "pairs")
SHARE = re.compile(r"\d*\.\d+(e-?\d+)?")
HOW = "write KIND:VALUE, for instance users:0.05, items:i12,i40 or pairs:u3/i12"


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What a request means in a catalogue.

    Attributes:
        kind: ``users``, ``items`` or ``pairs``.
        marked: Which training interactions go, ``(train,)`` bool.
        users: Numbers of the users that go as such; empty for the other kinds.
        items: Numbers of the items that go as such; empty for the other kinds.
    """

    kind: str
    marked: Tensor
    users: Tensor
    items: Tensor


def choose(catalogue: Catalogue, request: str, *, seed: int = 0) -> Chosen:
    """The training interactions that a request takes away.

    Args:
        catalogue: Users, items and interactions.
        request: See the module.
        seed: Decides which users, items or pairs a share means.

    Raises:
        DataError: The request cannot be read, names what is not there, or marks nothing or everything.
        SourceNotFound: There is no such file.
    """
    kind, colon, value = request.partition(":")
    if not colon or kind not in KINDS or not value.strip():
        raise DataError(f"request.forget = {request!r}: {HOW}")
    train = catalogue.train
    if kind == "pairs":
        marked = _pairs(catalogue, value, seed)
        users = items = torch.empty(0, dtype=torch.long)
    else:
        column, names = (0, catalogue.users) if kind == "users" else (1, catalogue.items)
        numbers = _numbers(kind, value, names, train[:, column].unique(), seed)
        marked = torch.isin(train[:, column], numbers)
        nothing = torch.empty(0, dtype=torch.long)
        users, items = (numbers, nothing) if kind == "users" else (nothing, numbers)
    if not marked.any():
        raise DataError(f"request.forget = {request!r} marks none of the {len(train):,} training interactions")
    if marked.all():
        raise DataError(
            f"request.forget = {request!r} marks all {len(train):,} training interactions, so that nothing would stay: "
            "ask for less, or delete the model"
        )
    return Chosen(kind=kind, marked=marked, users=users, items=items)


def _numbers(kind: str, value: str, names: Sequence[str], active: Tensor, seed: int) -> Tensor:
    """Numbers of the users or items that are meant; a share is drawn from those that have interactions."""
    if SHARE.fullmatch(value):
        return active[_draw(len(active), value, seed)].sort().values
    places = {name: number for number, name in enumerate(names)}
    find = _finder(kind.removesuffix("s"), places)
    return torch.tensor(sorted({find(name) for name in _listed(value)}), dtype=torch.long)


def _pairs(catalogue: Catalogue, value: str, seed: int) -> Tensor:
    count = len(catalogue.train)
    if SHARE.fullmatch(value):
        marked = torch.zeros(count, dtype=torch.bool)
        marked[_draw(count, value, seed)] = True
        return marked
    find_user = _finder("user", {name: number for number, name in enumerate(catalogue.users)})
    find_item = _finder("item", {name: number for number, name in enumerate(catalogue.items)})
    rows = []
    for text in _listed(value):
        parts = [part for part in re.split(r"[/\t ]+", text) if part]
        if len(parts) != 2:
            raise DataError(f"pair {text!r}: write USER/ITEM, or in a file a user and an item on each line")
        rows.append((find_user(parts[0]), find_item(parts[1])))
    asked = catalogue.keys(torch.tensor(rows, dtype=torch.long).reshape(-1, 2))
    known = catalogue.keys(catalogue.train)
    missing = (~torch.isin(asked, known)).nonzero().flatten()
    if len(missing):
        user, item = rows[int(missing[0])]
        raise DataError(
            f"user {catalogue.users[user]!r} has no training interaction with item {catalogue.items[item]!r}: "
            "name pairs that the model has learnt"
        )
    return torch.isin(known, asked)


def _draw(count: int, value: str, seed: int) -> Tensor:
    share = float(value)
    if not 0 < share < 1:
        raise DataError(f"a share of {value} is to be forgotten: it must lie between 0 and 1, both excluded")
    number = round(share * count)
    if not number:
        raise DataError(f"a share of {value} of {count:,} is less than one: ask for more")
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:number]


def _listed(value: str) -> list[str]:
    if not value.startswith("@"):
        return [name.strip() for name in value.split(",") if name.strip()]
    path = Path(value[1:]).expanduser()
    if not path.is_file():
        raise SourceNotFound(f"request.forget names {str(path)!r}: no such file")
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text in UTF-8: write one name a line") from error


def _finder(kind: str, places: Mapping[str, int]) -> Callable[[str], int]:
    def find(name: str) -> int:
        if name in places:
            return places[name]
        close = get_close_matches(name, list(places)[:100_000], n=1)
        hint = f"; did you mean {close[0]!r}?" if close else f", such as {next(iter(places))!r}"
        raise DataError(f"no {kind} {name!r} among the {len(places):,} of the data{hint}")

    return find
