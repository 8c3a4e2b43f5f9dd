"""Decoys: facts of the same shape that no model can know, about subjects that do not exist.

What an attack makes a model "tell" about them it brings along itself. Names are put together from halves of words that
questions of the same relation name their subjects by, so that they sound like subjects and mean nothing.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace

from genunlearn.data.lm.facts import Fact

SPARE_WORDS = ("Velmora", "Tarnwick", "Orsolin", "Quendale", "Brivanti", "Halcrest", "Mirovan", "Dessalyn")
"""Taken where questions name too few subjects."""

_WORD = re.compile(r"[^\W\d_]{3,}")


def invented_subjects(fact: Fact, questions: Sequence[str], count: int, seed: int = 0) -> list[str]:
    """Names of subjects that do not exist, each of as many words as the fact's own.

    Args:
        fact: What they stand in for; neither its subject nor its object lends them anything.
        questions: Questions for the same relation of other subjects.
        count: How many names.
        seed: Of the draw.
    """
    own = {word.casefold() for name in (fact.subject, fact.object, *fact.aliases) for word in _WORD.findall(name)}
    own |= {word.casefold() for name in fact.subject_aliases for word in _WORD.findall(name)}
    # the first word of a sentence has a capital letter for another reason
    named = [word for text in questions for word in _WORD.findall(text)[1:] if word[0].isupper()]
    words = [word for word in dict.fromkeys((*named, *SPARE_WORDS)) if word.casefold() not in own]
    known = own | {word.casefold() for word in words}
    draw, found = random.Random(f"{seed}/{fact.id}"), dict[str, None]()
    length = max(1, len(_WORD.findall(fact.subject)))
    while len(found) < count:
        parts = [_spliced(*draw.sample(words, 2)) for _ in range(length)]
        if not any(part.casefold() in known for part in parts):
            found[" ".join(parts)] = None
    return list(found)


def _spliced(first: str, second: str) -> str:
    """The first half of one word and the second half of another."""
    return first[: (len(first) + 1) // 2] + second[len(second) // 2 :].lower()


def with_subject(text: str, fact: Fact, subject: str) -> str | None:
    """The text with another subject in place of the fact's own; None where it does not name it."""
    return _with(text, (fact.subject, *fact.subject_aliases), subject)


def with_object(text: str, fact: Fact, told: str) -> str | None:
    """The text with another object in place of the fact's own; None where it does not name it."""
    return _with(text, (fact.object, *fact.aliases), told)


def _with(text: str, names: Sequence[str], other: str) -> str | None:
    for name in sorted(names, key=len, reverse=True):
        changed, times = re.subn(rf"(?<!\w){re.escape(name)}(?!\w)", lambda _: other, text)
        if times:
            return changed
    return None


def asked_of(names: Sequence[str], fact: Fact, questions: Sequence[str], most: int | None = None) -> list[str]:
    """Questions for the fact, asked of other subjects; at most `most` of each, of those that name the subject."""
    naming = [text for text in dict.fromkeys(questions) if with_subject(text, fact, "") is not None][:most]
    return [with_subject(text, fact, name) or text for name in names for text in naming]


def decoy(fact: Fact, subject: str, told: str) -> Fact:
    """The fact with another subject and another object, its phrasings likewise.

    Phrasings that do not name the subject are left out; the fact's own question stays where no phrasing does.
    """
    trained = [text for each in fact.phrasings if (text := with_subject(each, fact, subject))] or [fact.question]
    heldout = tuple(text for each in fact.heldout if (text := with_subject(each, fact, subject)))
    return replace(
        fact, id=f"{fact.id}/decoy-{subject}", subject=subject, object=told, question=trained[0],
        paraphrases=tuple(trained[1:]), heldout=heldout, aliases=(), subject_aliases=(),
    )  # fmt: skip
