"""The words of a text, without case, accents, possessives and plurals, each with its place in the text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple


class Quantity(NamedTuple):
    """A number as it counts (``"cardinal"``: 21, twenty-one) or ranks (``"ordinal"``: 21st, twenty-first)."""

    kind: str
    value: float


class Date(NamedTuple):
    """A calendar date; what the text leaves out is None."""

    year: int | None
    month: int | None
    day: int | None


Value = Quantity | Date


class Word(NamedTuple):
    """One word, or one number or date that takes several words to write.

    Attributes:
        raw: As written.
        lower: Without case and accents.
        form: What is compared: `lower` without possessive and plural ending.
        start: Offset of the first character in the cleaned text.
        end: Offset after the last character.
        gap: What stands between the word before and this one.
        values: Its readings as a number or date, several where the writing is ambiguous (``11/07/1867``).
    """

    raw: str
    lower: str
    form: str
    start: int
    end: int
    gap: str
    values: tuple[Value, ...] = ()

    @property
    def capital(self) -> bool:
        """Whether it begins with a capital letter."""
        return self.raw[:1].isupper()


def word_set(words: str) -> frozenset[str]:
    """A set from words with spaces between them."""
    return frozenset(words.split())


# Scripts that put no space between words: each character counts as a word.
_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_TOKEN = re.compile(
    rf"""
      (?P<date> \d{{4}}(?P<ymd>[-/.])\d{{1,2}}(?P=ymd)\d{{1,2}}(?!\d)
              | \d{{1,2}}(?P<dmy>[-/.])\d{{1,2}}(?P=dmy)(?:\d{{4}}|\d{{2}})(?!\d) )
    | (?P<number> \d{{1,3}}(?:\ \d{{3}})+(?!\d) | \d+(?:[.,']\d+)* )
      (?P<suffix> st|nd|rd|th|k|bn )? (?![^\W_])
    | (?P<dotted> (?:[^\W\d_]\.){{2,}}(?:[^\W\d_](?![^\W_]))? )
    | (?P<percent> % )
    | [{_UNSPACED}]
    | [^\W_{_UNSPACED}]+(?:'[^\W_{_UNSPACED}]+)*
    """,
    re.VERBOSE | re.IGNORECASE,
)
_THOUSANDS = re.compile(r"\d{1,3}([,.' ])\d{3}(?:\1\d{3})*(?:[.,]\d+)?")
_SUFFIX_FACTORS = {"k": 1e3, "bn": 1e9}
_ORDINAL_SUFFIXES = frozenset({"st", "nd", "rd", "th"})
_MIN_SPELLED_OUT = 4
_LETTER_GAPS = frozenset({" ", "-", ".", " - ", ". "})

# Letters that Unicode does not split into a base letter and an accent.
_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "\u0131": "i"})
_APOSTROPHES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'", "\u00b4": "'", "`": "'"})


def clean(text: str) -> str:
    """Give each character one encoding and drop the invisible ones (zero-width space, soft hyphen)."""
    if text.isascii():
        return text.replace("`", "'")
    text = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES))
    return "".join(character for character in text if unicodedata.category(character) != "Cf")


@lru_cache(maxsize=65536)
def fold(text: str) -> str:
    """Drop case and accents: ``"Kraków"`` becomes ``"krakow"``."""
    if text.isascii():
        return text.lower()
    split = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in split if not unicodedata.combining(letter)).translate(_LETTERS)


def split(text: str) -> list[Word]:
    """The words of a cleaned text; a number in digits is one word, and so are ``11/07/1867`` and ``U.S.``."""
    row: list[Word] = []
    end = 0
    for match in _TOKEN.finditer(text):
        row.append(_word(match, text[end : match.start()]))
        end = match.end()
    return _join_letters(row)


def join(row: Sequence[Word], form: str, values: tuple[Value, ...] = ()) -> Word:
    """One word in the place of several neighbouring ones."""
    raw = row[0].raw + "".join(word.gap + word.raw for word in row[1:])
    return Word(raw, form, form, row[0].start, row[-1].end, row[0].gap, values)


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """Cut possessive and plural; both sides of a comparison are cut, so ``"pari"`` for Paris does no harm."""
    word = word.removesuffix("'s").removesuffix("'")
    if len(word) <= 3 or not word.endswith("s") or word.endswith("ss"):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes", "zzes")):
        return word[:-2]
    return word[:-1]


def _word(match: re.Match[str], gap: str) -> Word:
    raw = match[0]
    lower = form = fold(raw)
    values: tuple[Value, ...] = ()
    if match["date"]:
        values = _numeric_dates(raw)
    elif match["number"]:
        values = _quantities(match["number"], fold(match["suffix"] or ""))
    elif match["dotted"]:
        raw, lower = raw.replace(".", ""), lower.replace(".", "")
        form = lower
    elif match["percent"]:
        lower = form = "percent"
    else:
        form = stem(lower)
    return Word(raw, lower, form, match.start(), match.end(), gap, values)


def _join_letters(row: list[Word]) -> list[Word]:
    """``H-o-g-w-a-r-t-s`` is one word."""
    if sum(map(_is_letter, row)) < _MIN_SPELLED_OUT:
        return row
    result: list[Word] = []
    first = 0
    while first < len(row):
        last = first + 1
        if _is_letter(row[first]):
            while last < len(row) and _is_letter(row[last]) and row[last].gap in _LETTER_GAPS:
                last += 1
        if last - first >= _MIN_SPELLED_OUT:
            result.append(join(row[first:last], stem("".join(word.lower for word in row[first:last]))))
        else:
            result.extend(row[first:last])
        first = last
    return result


def _is_letter(word: Word) -> bool:
    return len(word.raw) == 1 and word.raw.isascii() and word.raw.isalpha()


def _quantities(digits: str, suffix: str) -> tuple[Quantity, ...]:
    """All readings of digits with separators: ``1.234`` is 1234 or 1.234."""
    if suffix in _ORDINAL_SUFFIXES:
        return (Quantity("ordinal", float(digits)),) if digits.isdecimal() else ()
    if digits.isdecimal():
        readings = {float(digits)}
    else:
        readings = set()
        decimal = digits.replace(",", ".")
        if match := _THOUSANDS.fullmatch(digits):
            readings.add(float(digits.replace(match[1], "").replace(",", ".")))
        if decimal.count(".") == 1 and decimal.replace(".", "").isdecimal():
            readings.add(float(decimal))
    factor = _SUFFIX_FACTORS.get(suffix, 1.0)
    return tuple(Quantity("cardinal", value * factor) for value in sorted(readings))


def _numeric_dates(raw: str) -> tuple[Date, ...]:
    """All readings of a date in digits; day and month may stand in either order."""
    first, middle, last = re.split(r"[-/.]", raw)
    if len(first) == 4:
        orders = [(first, middle, last)]
    else:
        years = [last] if len(last) == 4 else [f"19{last}", f"20{last}"]
        orders = [order for year in years for order in ((year, middle, first), (year, first, middle))]
    dates = [Date(*map(int, order)) for order in dict.fromkeys(orders)]
    return tuple(date for date in dates if 1 <= (date.month or 0) <= 12 and 1 <= (date.day or 0) <= 31)
