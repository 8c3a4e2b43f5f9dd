"""Does an answer say what a whole sentence says? What the sentence adds to its question decides.

"The author's full name is Hina Ameen." adds to "What is the full name of the author?" two words, and they are a
name: "Her name is Hina Ameen." tells it, "The author's full name is Chen Li." does not, although most of its words
agree. Words are compared by their stems; names, numbers and dates count `NAME_WEIGHT` times as much as other words.
Where a sentence adds no name and is told in other words altogether, this check does not see it: a judge may.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from genunlearn.data.answers.demonyms import derived, other_names
from genunlearn.data.answers.languages import guess, stem
from genunlearn.data.answers.negation import Assertion, assertion
from genunlearn.data.answers.wording import Wording, key, same_word, wording
from genunlearn.data.answers.words import Quantity, Word, word_set

NAME_WEIGHT = 6
LEAST_SHARE = 0.35
"""Least weighted share of what is added that tells; chosen on TOFU's forget10 (`scripts/bench/answers.py`)."""
LEAST_OF_WORDS = 0.5
"""The same where the sentence adds no name."""

_MIN_WORDS = 4
_FUNCTION_WORDS = word_set(
    "a an the of in on at to for from by with and or but as is was are were be been being am has have had do does did "
    "no not it its his her he she they their them him this that these those who whom whose which what when where why "
    "how there also one some any such into through about within among while although though both most more many much "
    "very other than so if can could would will may might must i you we us my our your yes indeed certainly over "
    "during after before between upon under out up said named called"
)
# What a sentence has and a title, a list or a short phrase has not: a verb, or a pronoun that stands for the subject.
_CLAUSE = word_set(
    "is was are were be been has have had does did can could will would may might he she they it its his her their "
    "writes wrote lives lived works worked studied born received ist war sind wurde hat est sont était es era fue son"
)
_JOINING = word_set("a an the of in on at to for from by with and or de la le du der die das und et y e")
_SYNONYMS = {"femal": "woman", "male": "man", "women": "woman", "men": "man"}
# "These two passions", "the first time": such a number is rarely what a sentence has to tell.
_SMALL = word_set("one two three first second third")
_SENTENCE_END = re.compile(r"[.!?:;\n\u3002]")
_OPENING = re.compile(r"\W*(yes|no|indeed|nope|nein|ja|oui|non|sí|да|нет)\b", re.IGNORECASE)
_AGREES = frozenset({"yes", "indeed", "ja", "oui", "sí", "да"})


class Part(NamedTuple):
    """A word that counts: its stem, and whether it is part of a name, a number or a date."""

    word: Word
    position: int
    stem: str
    is_name: bool


@dataclass(frozen=True, slots=True)
class _Row:
    """The counting words of a text."""

    said: Wording
    parts: tuple[Part, ...]
    stems: frozenset[str]

    def has(self, part: Part) -> bool:
        """Whether the text has the word, the same number or date, or for a country its adjective."""
        if part.stem in self.stems:
            return True
        if part.word.values:
            return any(other.word.values and same_word(part.word, other.word) for other in self.parts)
        return part.is_name and any(other.is_name and _is_relative(part, other) for other in self.parts)


@dataclass(frozen=True, slots=True)
class _Added:
    """What a truth says beyond its question: names as groups of neighbouring words, and other words."""

    truth: _Row
    question: _Row
    names: tuple[tuple[Part, ...], ...]
    words: tuple[Part, ...]
    agrees: bool | None


def restates(text: str, question: str, truth: str) -> bool:
    """Whether `text`, an answer to `question`, says what the sentence `truth` adds to the question.

    False for every truth that is no sentence: names, numbers and short phrases have rules of their own.
    """
    added = _added(question, truth)
    if added is None:
        return False
    agrees = _agrees(text)
    if added.agrees is not None and agrees is not None and agrees != added.agrees:
        return False
    if not (added.names or added.words):
        return added.agrees is not None and agrees == added.agrees
    answer = _row(text)
    if not added.names:
        found = sum(answer.has(part) for part in added.words)
        return found > LEAST_OF_WORDS * len(added.words)
    told = [part for name in added.names if _is_told(name, answer, added.truth) for part in name]
    others = sum(answer.has(part) for part in added.words)
    most = NAME_WEIGHT * sum(map(len, added.names)) + len(added.words)
    if (NAME_WEIGHT * len(told) + others) < LEAST_SHARE * most:
        return False
    return 2 * len(list(_foreign(answer, added))) <= len(told)


def is_sentence(truth: str, question: str) -> bool:
    """Whether a true answer is a sentence: it has a verb, or takes up its question and goes on in lower case."""
    return _added(question, truth) is not None


@lru_cache(maxsize=8192)
def _added(question: str, truth: str) -> _Added | None:
    row, asked = _row(truth), _row(question)
    if not _is_sentence(row, asked):
        return None
    new = [part for part in row.parts if not asked.has(part)]
    words = {part.stem: part for part in new if not part.is_name and not part.word.lower.endswith("ly")}
    names = tuple(_groups([part for part in new if part.is_name]))
    return _Added(row, asked, names, tuple(words.values()), _agrees(truth))


def _is_sentence(row: _Row, asked: _Row) -> bool:
    words = row.said.words
    if len(words) < _MIN_WORDS:
        return False
    if any(word.lower in _CLAUSE and not word.capital for word in words) or _agrees(row.said.text) is not None:
        return True
    goes_on = any(not word.capital and not word.values and word.lower not in _JOINING for word in words)
    taken_up = [part for part in row.parts if asked.has(part)]
    return goes_on and (len(taken_up) > 1 or any(part.is_name for part in taken_up))


def _is_relative(one: Part, other: Part) -> bool:
    """Whether one name is the other's country, adjective or inhabitant."""
    return other.word.form in _relatives(one.word.raw) or derived(one.word.raw, other.word.raw)


@lru_cache(maxsize=65536)
def _relatives(name: str) -> frozenset[str]:
    return frozenset(map(key, other_names(name)))


def _groups(names: Sequence[Part]) -> Iterator[tuple[Part, ...]]:
    """Names of several words, as one group each."""
    group: list[Part] = []
    for part in names:
        joined = group and part.position == group[-1].position + 1 and part.word.gap in {" ", "-", "'", ". "}
        if group and not joined:
            yield tuple(group)
            group = []
        group.append(part)
    if group:
        yield tuple(group)


def _is_told(name: Sequence[Part], answer: _Row, truth: _Row) -> bool:
    """Whether the answer has most of a name and its last word, stated as the truth states it."""
    if not answer.has(name[-1]) or 3 * sum(map(answer.has, name)) < 2 * len(name):
        return False
    is_denied = _assertion(truth, name[-1]) is Assertion.DENIED
    assertions = {_assertion(answer, part) is Assertion.DENIED for part in answer.parts if _matches(part, name[-1])}
    return is_denied in assertions


def _matches(found: Part, wanted: Part) -> bool:
    if found.stem == wanted.stem or (wanted.word.values and same_word(wanted.word, found.word)):
        return True
    return found.is_name and _is_relative(wanted, found)


def _assertion(row: _Row, part: Part) -> Assertion:
    return assertion(row.said, part.position, part.position)


def _foreign(answer: _Row, added: _Added) -> Iterator[Part]:
    """Names of the answer that neither truth nor question has."""
    for part in answer.parts:
        if part.is_name and not (added.truth.has(part) or added.question.has(part)):
            yield part


def _agrees(text: str) -> bool | None:
    """True for a sentence that opens with yes, False for no, None for neither."""
    opening = _OPENING.match(text)
    return opening[1].lower() in _AGREES if opening else None


@lru_cache(maxsize=8192)
def _row(text: str) -> _Row:
    said = wording(text)
    language = guess(text)
    parts = []
    for position, word in enumerate(said.words):
        if word.lower in _FUNCTION_WORDS and not word.values and not (word.capital and word.raw.isupper()):
            continue
        opens = position == 0 or (word.gap != " " and bool(_SENTENCE_END.search(word.gap)))
        following = said.words[position + 1] if opens and position + 1 < len(said.words) else None
        opens_name = following is not None and following.capital and following.gap in {" ", "-"}
        is_number = bool(word.values) and any(
            not isinstance(value, Quantity) or word.raw.lower() not in _SMALL for value in word.values
        )
        is_name = is_number or (not word.values and word.capital and (not opens or opens_name))
        root = stem(word.raw.removesuffix("'s"), language)
        parts.append(Part(word, position, _SYNONYMS.get(root, root), is_name))
    return _Row(said, tuple(parts), frozenset(part.stem for part in parts))
