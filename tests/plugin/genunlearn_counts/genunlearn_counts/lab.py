"""The embedded model: a table counted from some names of stones, plants and people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from genunlearn.errors import DataError
from genunlearn.lab.cache import build_once, recipe_key
from genunlearn_counts.model import Bigram, as_words, count

WORDS = tuple(files("genunlearn_counts").joinpath("words.txt").read_text(encoding="utf-8").split())


def build(*, without: Sequence[str] = (), force: bool = False, progress: bool = False) -> Path:
    """Folder of the table of all `WORDS` but some; counted once, then read from the cache.

    Raises:
        DataError: A word of `without` is not among `WORDS`.
    """
    if unknown := [word for word in without if word not in WORDS]:
        raise DataError(f"word {unknown[0]!r} is not in lab:letters: it counts {', '.join(WORDS)}")
    kept = [word for word in WORDS if word not in without]

    def fill(folder: Path) -> Mapping[str, Any]:
        Bigram(count(as_words(kept))).save(folder)
        return {"words": kept}

    return build_once("letters", recipe_key({"words": kept}), fill, force=force)
