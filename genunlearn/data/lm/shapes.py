"""What an answer looks like (a number, a date, a symbol, a name, a word), to tell what could stand in its place."""

from __future__ import annotations

import re
from typing import Literal

Shape = Literal["number", "date", "symbol", "name", "word"]

LONGEST_SYMBOL = 3
"""Letters of an abbreviation such as Au or USA."""

MORE_WORDS = 2
"""How many words longer than the truth something of its kind may be."""

_MONTH = r"(?:jan|febr)uary|march|april|may|june|july|august|(?:septem|octo|novem|decem)ber"
_DATE = re.compile(rf"\b(?:1\d|20)\d\d\b|\b(?:{_MONTH})\b.*\d|\d.*\b(?:{_MONTH})\b", re.IGNORECASE)
_SPELLED = re.compile(
    r"(?:(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|twenty|thirty|forty|fifty"
    r"|sixty|seventy|eighty|ninety|hundred|thousand|million|billion|and|a)[\s-]?)+",
    re.IGNORECASE,
)
_SMALL = frozenset(("of", "the", "and", "de", "da", "van", "von", "la", "le", "der", "di", "in", "al"))


def shape(text: str) -> Shape:
    """The shape of an answer; a name has a capital letter in each word that matters."""
    text = text.strip(" .")
    if _DATE.search(text):
        return "date"
    if re.search(r"\d", text) or _SPELLED.fullmatch(text):
        return "number"
    words = [word for word in text.split() if word.casefold() not in _SMALL]
    if len(text) <= LONGEST_SYMBOL and text[:1].isupper() and len(words) == 1:
        return "symbol"
    return "name" if words and all(word[:1].isupper() for word in words) else "word"


def like(candidate: str, truth: str) -> str | None:
    """The candidate in the case that the truth is written in, or None where it is of another shape or far longer."""
    wanted = shape(truth)
    if wanted == "word" and shape(candidate) in ("name", "symbol") and candidate[1:] == candidate[1:].lower():
        candidate = candidate.lower()  # the first letter of a line in a list
    if shape(candidate) != wanted or len(candidate.split()) > len(truth.split()) + MORE_WORDS:
        return None
    return candidate
