"""Catalogues in folders, in the two layouts that the field uses.

MMRec        NAME.inter (tab-separated: userID, itemID, x_label 0 train, 1 valid, 2 test), and perhaps
             image_feat.npy and text_feat.npy, one row an item
MovieLens    ratings.csv (userId, movieId, rating, timestamp) and perhaps movies.csv (movieId, title, genres), also
             below raw/ or raw/ml-latest-small/, where PyTorch Geometric puts them

A rating counts as an interaction from `LEAST_RATING` on. MovieLens has no splits: of each user, by time, the last
tenth is for the test and the tenth before for validation.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genunlearn.data.recommender.arrays import read_features
from genunlearn.data.recommender.interactions import Catalogue
from genunlearn.errors import DataError, SourceNotFound

LABELS = {"0": "train", "1": "valid", "2": "test"}
FEATURES = {"image": "image_feat.npy", "text": "text_feat.npy"}
LEAST_RATING = 4.0
HELD_OUT = 10
"""One interaction in so many is for the test, and as many for validation."""
HASHED = 64
"""Places that the words of a title are counted in."""


def read_catalogue(folder: Path | str) -> Catalogue:
    """Read a catalogue; see the module for the layouts.

    Raises:
        SourceNotFound: No such folder, or neither layout in it.
        DataError: A file cannot be used.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise SourceNotFound(f"request.data = {str(folder)!r}: no such folder")
    found = sorted(folder.glob("*.inter"))
    if len(found) > 1:
        raise DataError(f"{folder} holds {', '.join(path.name for path in found)}: keep one")
    if found:
        return _read_mmrec(found[0])
    for place in (folder, folder / "raw", folder / "ml-latest-small", folder / "raw" / "ml-latest-small"):
        if (place / "ratings.csv").is_file():
            return _read_movielens(place)
    raise SourceNotFound(f"{folder}: neither NAME.inter (MMRec) nor ratings.csv (MovieLens) in it")


# ---- MMRec ------------------------------------------------------------------------------------------------------


def _read_mmrec(path: Path) -> Catalogue:
    """Users and items keep their numbers; items without an interaction count, since features go by number."""
    parts: dict[str, list[tuple[int, int]]] = {name: [] for name in LABELS.values()}
    for place, row in _rows(path, ("userID", "itemID", "x_label"), delimiter="\t"):
        if row["x_label"] not in LABELS:
            raise DataError(f"{place}: x_label = {row['x_label']!r}: 0 is train, 1 valid, 2 test")
        parts[LABELS[row["x_label"]]].append((_number(row["userID"], place), _number(row["itemID"], place)))
    pairs = [pair for part in parts.values() for pair in part]
    if not pairs:
        raise DataError(f"{path}: no interaction in it")
    users, items = (1 + max(pair[column] for pair in pairs) for column in (0, 1))
    if max(users, items) > 100 * len(pairs) + 1000:
        raise DataError(f"{path}: numbers up to {max(users, items):,} in {len(pairs):,} interactions: number from 0")
    present = {kind: path.parent / name for kind, name in FEATURES.items() if (path.parent / name).is_file()}
    return Catalogue(
        users=tuple(map(str, range(users))),
        items=tuple(map(str, range(items))),
        features={kind: read_features(file, items) for kind, file in present.items()},
        **{name: _tensor(part) for name, part in parts.items()},
    )


def _number(text: str, place: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 12:
        raise DataError(f"{place}: {text!r} is no whole number from 0 on, which users and items have in MMRec's format")
    return int(text)


# ---- MovieLens --------------------------------------------------------------------------------------------------


def _read_movielens(folder: Path) -> Catalogue:
    chosen: dict[tuple[str, str], float] = {}
    for place, row in _rows(folder / "ratings.csv", ("userId", "movieId", "rating", "timestamp")):
        rating, time = _real(row["rating"], place), _real(row["timestamp"], place)
        if rating >= LEAST_RATING:
            pair = (row["userId"], row["movieId"])
            chosen[pair] = min(time, chosen.get(pair, time))
    if not chosen:
        raise DataError(f"{folder / 'ratings.csv'}: no rating of {LEAST_RATING:g} or more in it")
    users = _ordered(user for user, _ in chosen)
    items = _ordered(item for _, item in chosen)
    places = ({name: n for n, name in enumerate(names)} for names in (users, items))
    user_of, item_of = places
    by_user: dict[int, list[tuple[float, int]]] = {}
    for (user, item), time in chosen.items():
        by_user.setdefault(user_of[user], []).append((time, item_of[item]))
    parts: dict[str, list[tuple[int, int]]] = {name: [] for name in LABELS.values()}
    for place_of_user, ranked in sorted(by_user.items()):
        held, last = len(ranked) // HELD_OUT, len(ranked)
        for number, (_, choice) in enumerate(sorted(ranked)):
            name = "test" if number >= last - held else "valid" if number >= last - 2 * held else "train"
            parts[name].append((place_of_user, choice))
    movies = folder / "movies.csv"
    return Catalogue(
        users=tuple(users),
        items=tuple(items),
        features={"text": _describe(movies, items)} if movies.is_file() else {},
        **{name: _tensor(part) for name, part in parts.items()},
    )


def _describe(path: Path, items: Sequence[str]) -> Tensor:
    """Genres and the words of the title, counted in hashed places; a film that is not listed has zeros."""
    from sklearn.feature_extraction.text import HashingVectorizer

    texts = {
        row["movieId"]: f"{row['title']} {row['genres']}" for _, row in _rows(path, ("movieId", "title", "genres"))
    }
    hashed = HashingVectorizer(n_features=HASHED, alternate_sign=False, norm="l2")
    return torch.from_numpy(hashed.transform([texts.get(item, "") for item in items]).toarray()).float()


def _real(text: str, place: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if value != value or value in (float("inf"), float("-inf")):
        raise DataError(f"{place}: {text!r} is no number")
    return value


# ---- both -------------------------------------------------------------------------------------------------------


def _rows(path: Path, columns: Sequence[str], delimiter: str = ",") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Place and values of each row.

    Raises:
        DataError: It is no such table, a column is missing, or a row is short.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter=delimiter)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(f"{path}: no column {missing[0]!r}: it needs {', '.join(columns)}")
            for row in reader:
                place = f"{path}, line {reader.line_num}"
                if any(not row[name] for name in columns):
                    raise DataError(f"{place}: a value is missing: it needs {', '.join(columns)}")
                yield place, {name: row[name].strip() for name in columns}
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: no table of text in UTF-8 ({error})") from error


def _ordered(names: Iterable[str]) -> list[str]:
    """Without duplicates, numbers by their size."""
    return sorted(set(names), key=lambda name: (len(name), name))


def _tensor(pairs: Sequence[tuple[int, int]]) -> Tensor:
    return torch.tensor(pairs, dtype=torch.long).reshape(-1, 2)
