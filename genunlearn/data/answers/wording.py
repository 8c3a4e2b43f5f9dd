"""Texts in comparable form, so that two ways of writing a thing are equal and a match can be quoted.

``wording("Curie's 2nd prize, in nineteen eleven")`` has the words ``curie``, the ordinal 2, ``prize``,
``in`` and the number 1911.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from genunlearn.data.answers.numbers import merge_dates, merge_numbers
from genunlearn.data.answers.words import Date, Quantity, Value, Word, clean, split

ARTICLES = frozenset({"the", "a", "an"})


@dataclass(frozen=True)
class Wording:
    """A text and its words.

    Attributes:
        text: The text after `clean`.
        words: All its words.
        content: Positions in `words` of those that are compared: all but the articles.
    """

    text: str
    words: tuple[Word, ...]
    content: tuple[int, ...]

    def span(self, first: int, last: int) -> str:
        """The text from word `first` to word `last`, both included."""
        return self.text[self.words[first].start : self.words[last].end]


@lru_cache(maxsize=8192)
def wording(text: str) -> Wording:
    """Split a text into words; spelled-out numbers and written dates become one word with a value."""
    text = clean(text)
    row = merge_dates(merge_numbers(split(text)))
    content = [position for position, word in enumerate(row) if word.lower not in ARTICLES]
    return Wording(text, tuple(row), tuple(content or range(len(row))))


@lru_cache(maxsize=8192)
def key(text: str) -> str:
    """A text reduced to what is compared: equal keys mean texts that differ only in their writing."""
    parts = wording(text)
    kept = (parts.words[position] for position in parts.content)
    return " ".join(str(tuple(word.values[0])) if word.values else word.form for word in kept)


def same_word(wanted: Word, found: Word) -> bool:
    """Whether `found` says what `wanted` says; a full date says the year too, but not the other way round."""
    if wanted.values:
        return any(_says(found_value, value) for value in wanted.values for found_value in found.values)
    return wanted.form == found.form


def _says(found: Value, wanted: Value) -> bool:
    if isinstance(found, Date):
        if isinstance(wanted, Quantity):
            return wanted.kind == "cardinal" and found.year == wanted.value
        return all(want is None or want == have for have, want in zip(found, wanted, strict=True))
    return found == wanted
