"""Data that nobody meant: JSON of every shape, and records, journals and ledgers with something wrong in them."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([10**20, -(10**20), 2**53, 0.0, -0.0, 0.5, 1.0, 1e-300, 1e300, -1e300, 1e16]),
    st.floats(allow_nan=True, allow_infinity=True),
)
TEXTS = st.one_of(
    st.sampled_from(
        ["", "a", "oracle", "unlearned", "original", "\u2028", "\x85", "\x00", "\x1b[2J", "\ud800", "{{ 7*7 }}"]
    ),
    st.sampled_from(
        ["<script>", "[bold]", "[/]", "x" * 5000, "../../etc/passwd", "$x^{$", "step 5", "forget", "psi = x"]
    ),
    st.text(st.characters(exclude_categories=[]), max_size=12),
)
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)


def paths_of(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value in JSON data, the whole included."""
    found = [path]
    parts = enumerate(data) if isinstance(data, list) else data.items() if isinstance(data, dict) else ()
    for key, value in parts:
        found += paths_of(value, (*path, key))
    return found


@st.composite
def damaged(draw: st.DrawFn, sound: Any) -> Any:
    """`sound` with one to four values replaced, removed, added, or swapped for another of its own values."""
    data = copy.deepcopy(sound)
    for _ in range(draw(st.integers(1, 4))):
        paths = [path for path in paths_of(data) if path]
        if not paths:
            break
        # Keys first: most values lie deep in lists, and every field should be met.
        top = draw(st.sampled_from(sorted({str(path[0]) for path in paths})))
        path = draw(st.sampled_from([path for path in paths if str(path[0]) == top]))
        place = data
        for key in path[:-1]:
            place = place[key]
        kind = draw(st.sampled_from(["replace", "replace", "nudge", "remove", "add", "swap"]))
        if kind == "remove":
            del place[path[-1]]
        elif kind == "swap":
            other = data
            for key in draw(st.sampled_from(paths)):
                other = other[key]
            place[path[-1]] = copy.deepcopy(other)
        elif kind == "nudge":
            place[path[-1]] = draw(_like(place[path[-1]]))
        elif kind == "add" and isinstance(place, dict):
            place[draw(TEXTS)] = draw(VALUES)
        elif kind == "add":
            place.append(draw(VALUES))
        else:
            place[path[-1]] = draw(VALUES)
    return data


def _like(value: Any) -> st.SearchStrategy[Any]:
    """Another value of the same type, which a schema may let pass."""
    if isinstance(value, bool):
        return st.booleans()
    if isinstance(value, int | float):
        return NUMBERS
    return TEXTS if isinstance(value, str) else VALUES


@st.composite
def damaged_bytes(draw: st.DrawFn, sound: bytes) -> bytes:
    """`sound` with some bytes overwritten, cut off or put in, or lines removed, doubled or swapped."""
    content = sound
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["bytes", "cut", "insert", "drop line", "double line", "swap lines"]))
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        lines = content.split(b"\n")
        number = draw(st.integers(0, len(lines) - 1))
        if kind == "bytes":
            new = draw(st.binary(min_size=1, max_size=4))
            content = content[:place] + new + content[place + len(new) :]
        elif kind == "cut":
            content = content[:place]
        elif kind == "insert":
            junk = st.one_of(st.binary(max_size=8), VALUES.map(lambda value: json.dumps(value).encode()))
            content = content[:place] + draw(junk) + content[place:]
        elif kind == "drop line":
            content = b"\n".join(lines[:number] + lines[number + 1 :])
        elif kind == "double line":
            content = b"\n".join([*lines[: number + 1], *lines[number:]])
        else:
            other = draw(st.integers(0, len(lines) - 1))
            lines[number], lines[other] = lines[other], lines[number]
            content = b"\n".join(lines)
    return content
