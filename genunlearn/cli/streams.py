"""Streams that cannot write every character: plain marks instead of a failure."""

from __future__ import annotations

import codecs
import io
import unicodedata
from typing import TextIO

PLAIN = {"✓": "+", "✗": "x", "·": "-", "↓": "v", "↑": "^", "→": ">"}
"""Marks where the encoding of the terminal has none of them."""


def write_plainly(stream: TextIO) -> None:
    """Have a stream write plain marks for what its encoding lacks, instead of failing on it."""
    if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
        codecs.register_error("genunlearn.plain", _plain)
        stream.reconfigure(errors="genunlearn.plain")


def _plain(error: UnicodeError) -> tuple[str, int]:
    """One plain character for each that cannot be encoded, so that tables keep their columns."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    wanted = error.object[error.start : error.end]
    return "".join(PLAIN.get(c) or _base_letter(c) for c in wanted), error.end


def _base_letter(character: str) -> str:
    """``e`` for an accented e; a question mark for what has no letter of ASCII in it."""
    first = unicodedata.normalize("NFKD", character)[:1]
    return first if first.isascii() and first.isprintable() else "?"
