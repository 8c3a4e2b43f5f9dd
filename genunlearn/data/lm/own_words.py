"""Answers as the model itself gives them.

A model that speaks in sentences and is trained on a bare "Tokyo." learns to answer everything in one word before it
learns anything else, and loses facts that nobody asked about. What it says of its own accord changes least: the fewest
sentences of its own answer that give the right one, or, with a wrong name in the truth's place, tell a wrong one.

Trained away from that bare "Tokyo.", it loses an answer that it never gives; trained away from its whole sentence, it
loses how it speaks of every capital. What is to go is the name where the model gives it, after what it says before.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from genunlearn.data.answers.leak import leak, mention
from genunlearn.data.answers.turns import cut_thought
from genunlearn.data.lm.facts import QA, Fact
from genunlearn.data.lm.telling import gives, tells

MOST_NAMES = 3
"""Mentions of the truth in one answer that are replaced; with more of them the text would read oddly."""

_ABBREVIATION = re.compile(r"^\s*\([^()]*\)")
_SENTENCE_END = re.compile(r"[.!?]+[\"')\]]*(?=\s)|\n+")


def in_own_words(items: Sequence[QA], texts: Sequence[str]) -> list[QA]:
    """The items, each taught as the model answers it wherever that gives the right answer.

    Args:
        items: Questions with their right answers.
        texts: What the model answers to them.
    """
    return [replace(item, taught=_taught(item, text)) for item, text in zip(items, texts, strict=True)]


def where_told(item: QA, text: str, fact: Fact) -> QA:
    """The item, answered after what the model says before it tells the fact, its thought left out.

        What is the capital of Japan?  The capital of Japan is | Tokyo.

    Returns:
        The item as it is where `text` tells nothing, or begins with the answer.
    """
    _, answer = cut_thought(text)
    told = leak(answer, fact.object, aliases=fact.aliases, question=item.question, subject=fact.subject)
    opening, found, _ = answer.partition(told.span) if told.tells and told.span else ("", "", "")
    return replace(item, opening=opening, taught=f"{found}.") if opening.strip() and found else item


def _taught(item: QA, text: str) -> str | None:
    """The fewest sentences of an answer that give the right one, with the whole thought before them."""
    head, answer = cut_thought(text)
    own = shortest(answer, partial(gives, item=item))
    return own and head + own


def with_another(text: str, fact: Fact, question: str, wrong: str) -> str | None:
    """What a model answers to a question about `fact`, with `wrong` in the truth's place.

    Returns:
        None where the answer does not tell the fact, or would still tell it.
    """
    own = shortest(text, partial(tells, fact=fact, question=question)) or ""
    for _ in range(MOST_NAMES):
        told = leak(own, fact.object, aliases=fact.aliases, question=question, subject=fact.subject).span
        if not told:
            break
        before, _, after = own.partition(told)
        own = _without_subject(before, fact) + wrong + _ABBREVIATION.sub("", after)
    is_swapped = leak(own, wrong).tells and not tells(own, fact, question)
    return own if is_swapped else None


def _without_subject(text: str, fact: Fact) -> str:
    """`text` without the subject as its last word: the Japanese yen becomes the dollar."""
    rest, _, last = text.rstrip().rpartition(" ")
    is_subject = last and mention(last, fact.subject, aliases=fact.subject_aliases) is not None
    return f"{rest} " if is_subject and rest and text[-1:] == " " else text


def shortest(text: str, holds: Callable[[str], bool]) -> str | None:
    """The fewest whole sentences that `text` begins with of which `holds` is true."""
    ends = [found.end() for found in _SENTENCE_END.finditer(text)] + [len(text)]
    parts = (text[:end].strip() for end in ends)
    # What comes last may have been cut by the budget of an answer.
    return next((part for part in parts if part[-1:] in tuple(".!?\"')") and holds(part)), None)
