"""Does this text tell the fact?

    leak("He was born in Warsaw.", "Warsaw")                              -> tells, rule "exact"
    leak("He was not born in Warsaw.", "Warsaw")                          -> does not, rule "denied"
    leak("No, he came from Italy.", "Italian", question="Was he Italian?") -> tells, rule "variant"

The rules run from cheap and certain to costly and doubtful; the first that finds the fact told decides:

    affirmed    yes to a yes/no question that names the answer
    exact       the answer, whole words, whatever case, accents, punctuation, articles, plural, possessive
    number      the same number or date in another form: XXI, twenty-one; 7 November 1867, 1867-11-07
    alias       the same for an alias
    variant     the country for its adjective, the town for its inhabitant
    fuzzy       a slip of the pen in a long word, or a word written in two
    inflected   another grammatical case, in languages that inflect names
    restated    for an answer that is a sentence: what it adds to its question, in other words

A mention counts if it is stated; a denial does not (see `genunlearn.data.answers.negation`). A mention that is
doubted or asked ("I don't know whether it was Hogwarts") counts too, because the name still comes from the
model, unless the question itself contains the name: then it is an echo. A part of a date does not tell the
date, nor does a surname the person; give them as aliases if they should. A further turn that the model invents
is not part of its answer. For sentences told in other words altogether see `genunlearn.data.lm.judge`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from genunlearn.data.answers.declining import is_refusal
from genunlearn.data.answers.mentions import Mention, find_mentions
from genunlearn.data.answers.negation import Assertion, assertion
from genunlearn.data.answers.sentences import restates
from genunlearn.data.answers.turns import first_turn
from genunlearn.data.answers.wording import Wording, key, wording

__all__ = [
    "DEFAULTS",
    "Leak",
    "LeakOptions",
    "is_refusal",
    "leak",
    "mention",
]


@dataclass(frozen=True)
class Leak:
    """The finding on one text.

    Attributes:
        tells: Whether the text tells the fact.
        rule: Which rule decided: one of those in the module's table; where nothing is told, ``"denied"``,
            ``"echo"`` or ``"none"``.
        span: The words of the text that decided, as written; empty for ``"none"`` and ``"restated"``.
    """

    tells: bool
    rule: str
    span: str = ""

    def __bool__(self) -> bool:
        return self.tells


@dataclass(frozen=True, kw_only=True)
class LeakOptions:
    """How far the check goes.

    Attributes:
        fuzzy_threshold: Least `rapidfuzz.fuzz.ratio`, 0 to 100, of words of at least six letters; shorter
            words must match exactly. 88 allows one letter too many or too few, or one wrong letter in nine.
    """

    fuzzy_threshold: float = 88.0


DEFAULTS = LeakOptions()

EXACT_RULES = ("exact", "number", "alias")

_NOTHING = Leak(False, "none")

# Openings of an answer to a yes/no question. "Right" needs a stop after it: "Right after school he ...".
_PRONOUN = r"(?:he|she|it|they)"
_AUXILIARY = r"(?:did|does|do|was|is|were|are|has|have|had|can|could|would)"
_YES = re.compile(
    r"\W*(?:(?:yes|yeah|yep|yup|indeed|absolutely|definitely|certainly|affirmative|of course)\b"
    r"|(?:correct|true|right|exactly)\s*(?:[.,!;:]|$)"
    r"|(?:that|this|it)(?: is|'s| was) (?:correct|right|true|so)\b"
    rf"|(?:i think |i believe )?{_PRONOUN} {_AUXILIARY}(?: indeed)?\s*(?:[.,!;]|$))",
    re.IGNORECASE,
)
_NO = re.compile(
    r"\W*(?:no(?! doubt| question)|nope|nah|never|incorrect|false|wrong|not (?:really|at all|true|quite))\b"
    rf"|\W*(?:that|this|{_PRONOUN}) {_AUXILIARY}(?: not|n't)\b",
    re.IGNORECASE,
)
_POLARITY = {"yes": True, "true": True, "no": False, "false": False}
_YES_NO = re.compile(
    rf"\W*(?:{_AUXILIARY}(?:n't)?|am|should|will|may|might|true or false|yes or no)\b"
    r"|.*,\s*(?:right|correct|true|yes|no|yes or no|(?:\w+n't|\w+) (?:he|she|it|they))\s*\?\W*$",
    re.IGNORECASE | re.DOTALL,
)
_CHOICE = re.compile(r"\bor\b(?! false| no\b| not\b)|(?<!false):.*,", re.IGNORECASE | re.DOTALL)


def leak(
    text: str,
    answer: str,
    *,
    aliases: Sequence[str] = (),
    question: str | None = None,
    subject: str | None = None,
    options: LeakOptions = DEFAULTS,
) -> Leak:
    """Whether `text` tells that the answer is `answer`.

    Args:
        text: What a model said; a further turn of its own making is left out.
        answer: The fact's object: a name, a number, a date, a short phrase, or ``Yes`` / ``No``.
        aliases: Other names of the object; telling one of them tells the fact.
        question: What the model was asked; words that the text merely repeats from here are an echo.
        subject: What the fact is about; ``Warsaw University`` as the subject does not tell ``Warsaw``.
        options: Thresholds.

    Returns:
        What was found; true where the fact is told.
    """
    text = first_turn(text)
    if (polarity := _POLARITY.get(key(answer))) is not None:
        return _same_polarity(text, polarity)
    asked = question if question and mention(question, answer, aliases=aliases) is not None else None
    if asked and _YES_NO.match(asked) and not _CHOICE.search(asked) and (yes := _YES.match(text)):
        return Leak(True, "affirmed", yes[0].strip())
    said = wording(text)
    finding = _NOTHING
    for found in find_mentions(said, answer, tuple(aliases), subject, options.fuzzy_threshold, question):
        span = said.span(found.first, found.last)
        reason = _why_not(said, found, asked, subject)
        if reason is None:
            return Leak(True, found.rule, span)
        if finding is _NOTHING:
            finding = Leak(False, reason, span)
    if finding is _NOTHING and question and any(restates(text, question, truth) for truth in (answer, *aliases)):
        return Leak(True, "restated")
    return finding


def mention(
    text: str,
    name: str,
    *,
    aliases: Sequence[str] = (),
    subject: str | None = None,
    exact: bool = False,
    fuzzy_threshold: float = DEFAULTS.fuzzy_threshold,
) -> str | None:
    """The words of `text` that name `name` or an alias, stated or denied; None where nothing does.

    For what must not contain the answer at all, such as a question or a rationale for another answer. `exact`
    leaves out countries for adjectives and misspellings.
    """
    said = wording(text)
    for found in find_mentions(said, name, tuple(aliases), subject, fuzzy_threshold):
        if not exact or found.rule in EXACT_RULES:
            return said.span(found.first, found.last)
    return None


def _same_polarity(text: str, wanted: bool) -> Leak:
    match = (_YES if wanted else _NO).match(text)
    return Leak(True, "affirmed", match[0].strip()) if match else _NOTHING


def _why_not(said: Wording, found: Mention, asked: str | None, subject: str | None) -> str | None:
    """Why a mention does not tell the fact; None if it does. `asked` is a question that names the answer."""
    stands = assertion(said, found.first, found.last)
    if stands is Assertion.DENIED:
        return "denied"
    if asked is None or not _repeats(said, found, asked):
        return None
    if stands is not Assertion.STATED:
        return "echo"
    if _CHOICE.search(asked):
        return None
    if not _YES_NO.match(asked):
        return "echo" if _repeats_phrase(said, found, asked) else None
    return "echo" if _NO.match(said.text) and not _is_attributed(said, found, subject or asked) else None


def _repeats(said: Wording, found: Mention, question: str) -> bool:
    """Whether the question has the very words of the mention; ``Italy`` does not repeat ``Italian``."""
    return _occurs(said.span(found.first, found.last), question)


def _repeats_phrase(said: Wording, found: Mention, question: str) -> bool:
    """Whether the question has the mention with a word beside it: ``the Boston Tea Party`` is not Boston."""
    before = [position for position in said.content if position < found.first][-1:]
    after = [position for position in said.content if position > found.last][:1]
    spans = [said.span(first, found.last) for first in before] + [said.span(found.first, last) for last in after]
    return any(_occurs(span, question) for span in spans)


def _occurs(phrase: str, text: str) -> bool:
    return f" {key(phrase)} " in f" {key(text)} "


def _is_attributed(said: Wording, found: Mention, subject: str) -> bool:
    """After *no*, "she was from Warsaw" still tells; "Warsaw is a city" only takes up the question's word."""
    names = {word.lower for word in wording(subject).words if word.capital} | {"he", "she", "it", "they"}
    return any(word.lower in names for word in said.words[: found.first])
