"""Where a text names a thing: exactly, as a number in another form, by an alias or a relative, misspelt, inflected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rapidfuzz import fuzz
from rapidfuzz.distance import OSA

from genunlearn.data.answers.demonyms import derived, is_nation, other_names
from genunlearn.data.answers.languages import guess, may_be_form, same_name
from genunlearn.data.answers.wording import Wording, same_word, wording
from genunlearn.data.answers.words import Quantity, Word, word_set

Pattern = tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Mention:
    """Words `first` to `last` (both included) of a `Wording`, and the rule that found them."""

    first: int
    last: int
    rule: str


# Answers that, without their capital, are everyday words; there only the capital makes a name of them.
_ALSO_WORDS = word_set(
    "may will mark march august us it who in or me am an at is he art rose rich bill frank grace hope joy "
    "faith bath nice reading mobile cork split turkey china chile polish pole dane finn turk swede scot "
    "job jack pat sue rob drew wood stone king queen page young white black brown green gray rice cook "
    "smith"
)
# "New York" does not name "York", nor "North America" America; but "Northern Italy" names Italy, "East Africa" Africa.
_NAME_PREFIXES = word_set("new equatorial papua")
_DIVIDING = word_set("north south east west northern latin central")
_DIVIDED = {"africa": word_set("south")} | dict.fromkeys(
    word_set("america korea ireland sudan carolina dakota macedonia timor virginia"), _DIVIDING
)
# "21 years old" is told by "twenty-one", "in Warsaw" by "Warsaw".
_LEADING = word_set("in at on from of by to about around approximately roughly nearly over")
_UNITS = word_set(
    "year old month week day hour minute second time people person child children sibling percent km "
    "kilometer kilometre meter metre mile kg kilogram pound dollar euro inhabitant book novel film movie "
    "album goal point"
)
_MIN_FUZZY_LETTERS = 6
_MIN_FOREIGN = 3


def find_mentions(
    said: Wording,
    name: str,
    aliases: tuple[str, ...],
    subject: str | None,
    fuzzy_threshold: float,
    question: str | None = None,
) -> Iterator[Mention]:
    """Mentions of `name`, surest rule first; a mention inside a longer name of the subject is left out.

    Args:
        said: The text.
        name: What is looked for.
        aliases: Its other names.
        subject: A name that may contain `name` without naming it: ``New York Times`` and ``New York``.
        fuzzy_threshold: Least similarity of a misspelt word, 0 to 100.
        question: What the text answers; it helps to tell the language of a short answer.
    """
    row = [said.words[position] for position in said.content]
    patterns = _patterns(name, aliases)
    taken = _inside(row, subject, [pattern for pattern, _ in patterns])
    for pattern, rule in patterns:
        for first in _exact(row, pattern):
            last = first + len(pattern) - 1
            if not taken.intersection(range(first, last + 1)) and _is_name(said, said.content[first], pattern):
                yield Mention(said.content[first], said.content[last], _rule(rule, pattern))
    for pattern, rule in patterns:
        if rule != "variant":
            for first, last, how in _approximate(row, pattern, fuzzy_threshold):
                if not taken.intersection(range(first, last + 1)):
                    yield Mention(said.content[first], said.content[last], how)
    for pattern, rule in patterns:
        if rule != "variant":
            for first in _inflected(row, pattern, said.text, question):
                last = first + len(pattern) - 1
                if not taken.intersection(range(first, last + 1)):
                    yield Mention(said.content[first], said.content[last], "inflected")


@lru_cache(maxsize=8192)
def _patterns(name: str, aliases: tuple[str, ...]) -> tuple[tuple[Pattern, str], ...]:
    """What to look for, with the rule that each stands for; shorter forms that tell the same are included."""
    listed = [(pattern, "exact") for pattern in _forms(name)]
    listed += [(pattern, "alias") for alias in aliases for pattern in _forms(alias)]
    listed += [(_pattern(other), "variant") for known in (name, *aliases) for other in other_names(known)]
    return tuple((pattern, rule) for pattern, rule in listed if pattern)


def _pattern(name: str) -> Pattern:
    parts = wording(name)
    return tuple(parts.words[position] for position in parts.content)


def _forms(name: str) -> list[Pattern]:
    """The name, and what remains of it without brackets, region, preposition or unit."""
    whole = _pattern(name)
    forms = [whole]
    before_bracket, bracket, _ = name.partition("(")
    if bracket:
        forms.append(_pattern(before_bracket))
    town, comma, region = name.partition(",")
    if comma and _is_proper(_pattern(town)) and _is_proper(_pattern(region)):
        forms.append(_pattern(town))
    core = whole
    while len(core) > 1 and core[0].lower in _LEADING:
        core = core[1:]
    if len(core) > 1 and _is_count(core[0]) and all(word.form in _UNITS for word in core[1:]):
        core = core[:1]
    forms.append(core)
    return list(dict.fromkeys(forms))


def _is_proper(pattern: Pattern) -> bool:
    return bool(pattern) and all(word.capital and not word.values for word in pattern)


def _is_count(word: Word) -> bool:
    return any(isinstance(value, Quantity) and value.kind == "cardinal" for value in word.values)


def _rule(rule: str, pattern: Pattern) -> str:
    return "number" if rule == "exact" and any(word.values for word in pattern) else rule


def _exact(row: Sequence[Word], pattern: Pattern) -> Iterator[int]:
    head, *rest = pattern
    for first in range(len(row) - len(rest)):
        if same_word(head, row[first]) and all(
            same_word(wanted, row[first + offset]) for offset, wanted in enumerate(rest, start=1)
        ):
            yield first


def _is_name(said: Wording, first: int, pattern: Pattern) -> bool:
    """Whether the words at `first` are the name, not an everyday word or the end of another name."""
    wanted, found = pattern[0], said.words[first]
    is_written_so = found.raw.isupper() if wanted.raw.isupper() else found.capital or bool(found.values)
    if len(pattern) == 1 and wanted.capital and wanted.lower in _ALSO_WORDS and not is_written_so:
        return False
    if first == 0 or wanted.lower in _NAME_PREFIXES:
        return True
    before = said.words[first - 1]
    is_other = before.lower in _NAME_PREFIXES | _DIVIDED.get(wanted.lower, frozenset())
    return not (is_other and before.capital and found.capital and found.gap == " ")


def _inside(row: Sequence[Word], subject: str | None, patterns: Sequence[Pattern]) -> set[int]:
    """Positions that belong to a mention of the subject which contains the name looked for."""
    whole = _pattern(subject) if subject else ()
    contained = (pattern for pattern in patterns if len(pattern) < len(whole))
    if all(next(_exact(whole, pattern), None) is None for pattern in contained):
        return set()
    return {first + offset for first in _exact(row, whole) for offset in range(len(whole))}


def _approximate(row: Sequence[Word], pattern: Pattern, fuzzy_threshold: float) -> Iterator[tuple[int, int, str]]:
    """Mentions with a relative or a misspelling of one of the words, as (first, last, rule)."""
    size = len(pattern)
    if all(word.values for word in pattern):
        return
    for first in range(len(row) - size + 1):
        if rule := _closeness(pattern, row[first : first + size], fuzzy_threshold):
            yield first, first + size - 1, rule
    yield from _respaced(row, pattern)


def _closeness(pattern: Pattern, window: Sequence[Word], fuzzy_threshold: float) -> str | None:
    rule = None
    for wanted, found in zip(pattern, window, strict=True):
        if same_word(wanted, found):
            continue
        # Neither a relative nor a misspelling begins with another letter; this rules out nearly all windows.
        if wanted.form[0] != found.form[0] or wanted.values or found.values:
            return None
        if derived(wanted.raw, found.raw):
            rule = rule or "variant"
        elif wanted.capital == found.capital and _is_slip(wanted.form, found.form, fuzzy_threshold):
            rule = "fuzzy"
        else:
            return None
    return rule


@lru_cache(maxsize=65536)
def _is_slip(wanted: str, found: str, fuzzy_threshold: float) -> bool:
    """Whether two long words differ by a slip of the pen; another ending makes another name (Alexandra)."""
    if min(len(wanted), len(found)) < _MIN_FUZZY_LETTERS or wanted[-1] != found[-1] or is_nation(found):
        return False
    swapped = sorted(wanted) == sorted(found) and OSA.distance(wanted, found, score_cutoff=1) == 1
    return swapped or fuzz.ratio(wanted, found) >= fuzzy_threshold


def _respaced(row: Sequence[Word], pattern: Pattern) -> Iterator[tuple[int, int, str]]:
    """``Hog warts`` and ``NewYork``: the letters of the name, divided otherwise."""
    letters = "".join(word.form for word in pattern)
    if len(letters) < _MIN_FUZZY_LETTERS:
        return
    for size in {len(pattern) - 1, len(pattern) + 1} - {0}:
        for first in range(len(row) - size + 1):
            window = row[first : first + size]
            if letters.startswith(window[0].form) and "".join(word.form for word in window) == letters:
                yield first, first + size - 1, "fuzzy"


def _inflected(row: Sequence[Word], pattern: Pattern, text: str, question: str | None) -> Iterator[int]:
    """Where the name stands in another grammatical case: ``w Krakowie``, ``Hogwarts'ta``."""
    size = len(pattern)
    if any(word.values for word in pattern) or not any(word.capital or not word.raw.isascii() for word in pattern):
        return
    head = pattern[0].raw
    for first in range(len(row) - size + 1):
        if not may_be_form(head, row[first].raw):
            continue
        window = row[first : first + size]
        pairs = [(wanted, found) for wanted, found in zip(pattern, window, strict=True) if not same_word(wanted, found)]
        changed = [(wanted.raw, found.raw) for wanted, found in pairs if may_be_form(wanted.raw, found.raw)]
        if len(changed) < len(pairs):
            continue
        if changed and all(same_name(*pair, _language(row, text, question)) for pair in changed):
            yield first


def _language(row: Sequence[Word], text: str, question: str | None) -> str | None:
    """The language of an answer; a few words or a row of names do not show that it is one without a stemmer."""
    language = guess(f"{text} {question or ''}")
    small = sum(not word.capital for word in row)
    return language or ("english" if len(row) < _MIN_FOREIGN or 2 * small < len(row) else None)
