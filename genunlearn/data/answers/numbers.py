"""Numbers and dates as English writes them: spelled out, Roman, ranked, with the month in words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from genunlearn.data.answers.words import Date, Quantity, Value, Word, join, word_set

_SMALL = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen
"""
_SMALL_ORDINALS = """
zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth
fifteenth sixteenth seventeenth eighteenth nineteenth
"""
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_CARDINALS = {word: value for value, word in enumerate(_SMALL.split())} | {
    word: 10 * value for value, word in enumerate(_TENS.split(), start=2)
}
_ORDINALS = {word: value for value, word in enumerate(_SMALL_ORDINALS.split())} | {
    word[:-1] + "ieth": 10 * value for value, word in enumerate(_TENS.split(), start=2)
}
_SCALES = {
    "dozen": 12,
    "hundred": 100,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}
_LARGE_SCALE = 1000
# What a number in words begins with.
_OPENINGS = frozenset({*_CARDINALS, *_ORDINALS, "a", "an"})

_MONTH_NAMES = (
    ("january", "jan"),
    ("february", "feb"),
    ("march", "mar"),
    ("april", "apr"),
    ("may",),
    ("june", "jun"),
    ("july", "jul"),
    ("august", "aug"),
    ("september", "sept", "sep"),
    ("october", "oct"),
    ("november", "nov"),
    ("december", "dec"),
)
_MONTHS = {name: number for number, names in enumerate(_MONTH_NAMES, start=1) for name in names}
# These months are also everyday words: only a capital makes them months.
_DOUBTFUL_MONTHS = frozenset({"march", "mar", "may", "august"})
_DATE_FILLERS = frozenset({"of", "the", "day", "in", "year"})
_DATE_GAPS = re.compile(r"[ .,\-/]*")
_YEARS = range(1000, 3000)

_ROMAN = re.compile(r"(?=[IVXLCDM])M{0,3}(CM|CD|D?C{0,3})(XC|XL|L?X{0,3})(IX|IV|V?I{0,3})")
_ROMAN_DIGITS = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}

# "one" counts things unless it stands for a person or a thing.
_NOT_BEFORE_ONE = word_set("no any every some this that which the another each only")
_NOT_AFTER_ONE = word_set("of day another who that can should may must might would thing")


def merge_numbers(row: list[Word]) -> list[Word]:
    """Give numbers in words and Roman numerals their value; several words become one."""
    result: list[Word] = []
    first = 0
    while first < len(row):
        last, value = _spelled_number(row, first)
        if value is not None:
            result.append(join(row[first:last], row[first].form, (value,)))
        elif roman := _roman(row, first):
            result.append(join(row[first : first + 1], row[first].form, roman))
        else:
            result.append(row[first])
        first = max(last, first + 1)
    return result


def merge_dates(row: list[Word]) -> list[Word]:
    """Join day, month and year into one word; a month alone becomes a date without day and year."""
    result: list[Word] = []
    first = 0
    while first < len(row):
        last, date = _written_date(row, first)
        if date is None:
            result.append(row[first])
        else:
            result.append(join(row[first:last], row[first].form, (date,)))
        first = max(last, first + 1)
    return result


def _spelled_number(row: Sequence[Word], first: int) -> tuple[int, Quantity | None]:
    """The number that begins at `first`, and the position after it."""
    word = row[first]
    if not word.values and word.lower not in _OPENINGS:  # nearly all words
        return first, None
    counts = [value.value for value in word.values if isinstance(value, Quantity) and value.kind == "cardinal"]
    if (counts or word.lower in {"a", "an"}) and _is_scale(row, first + 1):
        return _Count(counts[-1] if counts else 1).read(row, first + 1)
    if word.values or (word.lower == "one" and _is_pronoun(row, first)):
        return first, None
    return _Count(0).read(row, first)


def _is_scale(row: Sequence[Word], position: int) -> bool:
    return position < len(row) and row[position].gap == " " and row[position].lower.removesuffix("s") in _SCALES


def _is_pronoun(row: Sequence[Word], position: int) -> bool:
    before = row[position - 1].lower if position else ""
    after = row[position + 1].lower if position + 1 < len(row) else ""
    return before in _NOT_BEFORE_ONE or after in _NOT_AFTER_ONE


class _Count:
    """Adds up number words from left to right for as long as they make one number."""

    def __init__(self, start: float) -> None:
        self.total = 0.0
        self.group = float(start)
        self.century: float | None = None
        self.empty = start == 0

    def read(self, row: Sequence[Word], first: int) -> tuple[int, Quantity | None]:
        """Read on from `first`; returns the position after the number, and its value if there is one."""
        position = first
        while position < len(row):
            word = row[position]
            if position > first and word.gap not in {" ", "-"}:
                break
            if word.lower == "and":
                if not self._may_take_and(row, position):
                    break
            elif word.lower in _ORDINALS and self._add(_ORDINALS[word.lower]):
                return position + 1, Quantity("ordinal", self._value())
            elif not self._take(word):
                break
            position += 1
        return position, None if self.empty else Quantity("cardinal", self._value())

    def _value(self) -> float:
        return self.total + self.group + 100 * (self.century or 0)

    def _may_take_and(self, row: Sequence[Word], position: int) -> bool:
        follows = row[position + 1].lower if position + 1 < len(row) else ""
        return (self.total > 0 or self.group >= 100) and (follows in _CARDINALS or follows in _ORDINALS)

    def _take(self, word: Word) -> bool:
        if word.lower in _CARDINALS:
            return self._add(_CARDINALS[word.lower])
        scale = _SCALES.get(word.lower.removesuffix("s"))
        if scale is None or self.group == 0:
            return False
        if scale >= _LARGE_SCALE:
            self.total, self.group = self.total + self.group * scale, 0.0
        else:
            self.group *= scale
        return True

    def _add(self, value: int) -> bool:
        """Add a word below one hundred where English allows it, ``nineteen eighty-four`` included."""
        if value < 10:
            fits = self.group % 10 == 0 and (self.group % 100 == 0 or self.group % 100 >= 20)
        else:
            fits = self.group % 100 == 0
        if fits and not (value == 0 and not self.empty):
            self.group += value
        elif value >= 10 and self.total == 0 and self.century is None and 10 <= self.group <= 20:
            self.century, self.group = self.group, float(value)
        else:
            return False
        self.empty = False
        return True


def _roman(row: Sequence[Word], position: int) -> tuple[Value, ...]:
    """A Roman numeral counts and ranks: Henry V is Henry the Fifth, Apollo XI is Apollo 11."""
    raw = row[position].raw
    if not raw.isupper() or not _ROMAN.fullmatch(raw):
        return ()
    # A single letter is a numeral only after a name: World War I, not "I".
    if len(raw) == 1 and not (position > 1 or (position == 1 and len(row) == 2)):
        return ()
    if len(raw) == 1 and not (row[position - 1].capital and row[position].gap == " "):
        return ()
    digits = [_ROMAN_DIGITS[letter] for letter in raw]
    pairs = zip(digits, [*digits[1:], 0], strict=True)
    value = float(sum(-digit if digit < following else digit for digit, following in pairs))
    return (Quantity("cardinal", value), Quantity("ordinal", value))


def _written_date(row: Sequence[Word], first: int) -> tuple[int, Date | None]:
    """``7 November 1867``, ``November 7th, 1867``, ``the seventh of November``, ``Nov 1867``, ``May``."""
    if not row[first].values and row[first].lower not in _MONTHS:  # nearly all words
        return first, None
    day = _whole(row[first], 1, 31)
    position = first
    if day is not None:
        position = _next(row, first)
        if position >= len(row) or _month(row[position]) is None:
            return first, None
    month = _month(row[position])
    if month is None:
        return first, None
    last = position + 1
    follows = _next(row, position)
    if day is None and follows < len(row) and (day := _whole(row[follows], 1, 31)) is not None:
        last, follows = follows + 1, _next(row, follows)
    year = _whole(row[follows], _YEARS.start, _YEARS.stop - 1) if follows < len(row) else None
    return (follows + 1 if year is not None else last), Date(year, month, day)


def _next(row: Sequence[Word], position: int) -> int:
    """The next word that may belong to the same date, or ``len(row)``."""
    position += 1
    while position < len(row) and _DATE_GAPS.fullmatch(row[position].gap):
        if row[position].lower not in _DATE_FILLERS:
            return position
        position += 1
    return len(row)


def _whole(word: Word, least: int, most: int) -> int | None:
    for value in word.values:
        if isinstance(value, Quantity) and value.value.is_integer() and least <= value.value <= most:
            return int(value.value)
    return None


def _month(word: Word) -> int | None:
    if word.lower in _DOUBTFUL_MONTHS and not word.capital:
        return None
    return _MONTHS.get(word.lower)
