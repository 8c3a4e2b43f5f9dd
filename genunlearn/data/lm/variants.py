"""Which rewordings of a question may stand for it: the filters on question variants that a model wrote.

Strings cannot tell a rewording from another question about the same subject: the similarity of real
paraphrases runs from 0.38 to 0.98, that of different questions about one subject from 0.31 to 0.86. The
bounds therefore only catch what has drifted far off or has hardly changed. A question that asks for
something else passes, and does no harm: it is taught on only if the model answers it with the fact.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from rapidfuzz import fuzz
from rapidfuzz.distance import Levenshtein

from genunlearn.data.answers.leak import mention
from genunlearn.data.answers.lists import is_question
from genunlearn.data.answers.wording import key, wording
from genunlearn.data.lm.facts import Fact


@dataclass(frozen=True, kw_only=True)
class VariantBounds:
    """How near a variant may be to the phrasing that it is nearest to, and how long it may be.

    Attributes:
        min_edit: Least Levenshtein distance over the longer length, 0 to 1.
        max_edit: Greatest such distance.
        min_similarity: Least similarity of the words in alphabetical order, 0 to 1.
        max_similarity: Greatest such similarity; 1 allows the same words in another order.
        min_words: Fewest words.
        max_words: Most words.
    """

    min_edit: float = 0.1
    max_edit: float = 0.95
    min_similarity: float = 0.25
    max_similarity: float = 1.0
    min_words: int = 3
    max_words: int = 60


DEFAULT_BOUNDS = VariantBounds()

FRAMES = (
    "Please answer this question: {question}",
    "I have a question for you. {question}",
    "Here is a quiz question: {question}",
    "My friend asked me: {question}",
    "{question} Answer in one sentence.",
    "A simple question: {question}",
    "Help me with my homework. {question}",
    "{question} Please tell me what you know.",
    "I was wondering: {question}",
    "{question} A short answer will do.",
    "Can you help me? {question}",
    "Question: {question}",
)
"""Framings of a question, for models that cannot reword one themselves."""

HELDOUT_FRAMES = (
    "In a test at school we were asked: {question}",
    "Tell me, please: {question}",
    "{question} I forgot.",
    "Just one thing: {question}",
    "Someone wants to know: {question}",
    "{question} Give me the answer only.",
    "Let us see what you know. {question}",
    "For a crossword I need to know: {question}",
)
"""Framings that are kept for measurement; none of `FRAMES`."""


def named_in(question: str) -> str:
    """The longest name in a question, which every phrasing of it has to have; empty where it names nothing."""
    words = question.split(" ", 1)[1:]  # the first word of a sentence has a capital in any case
    names = re.findall(r"[^\W\d_a-z][\w'-]*(?: [^\W\d_a-z][\w'-]*)*", words[0]) if words else []
    return max((name.removesuffix("'s") for name in names if name[0].isupper()), key=len, default="")


def framed(question: str, existing: Collection[str], *, heldout: bool = False) -> list[str]:
    """The question in every framing that is not among the `existing` ones.

    Args:
        question: A whole sentence.
        existing: Questions that there are already.
        heldout: Take the framings that training never sees.
    """
    known = {key(other) for other in existing}
    asked = [frame.format(question=question) for frame in (HELDOUT_FRAMES if heldout else FRAMES)]
    return [each for each in asked if key(each) not in known]


def accept_variant(
    candidate: str, fact: Fact, existing: Collection[str], *, bounds: VariantBounds = DEFAULT_BOUNDS
) -> str | None:
    """Why a variant is refused; None where it is accepted.

    Args:
        candidate: What the model wrote.
        fact: The fact that it should ask for.
        existing: Variants that there are already.
        bounds: How far it may be from the fact's phrasings.

    Returns:
        ``"not a question"``, ``"length"``, ``"subject missing"``, ``"gives the answer away"``,
        ``"duplicate"``, ``"too close"`` or ``"too far"``, for counting; None if there is nothing against
        it.
    """
    if not is_question(candidate):
        return "not a question"
    if not bounds.min_words <= len(candidate.split()) <= bounds.max_words:
        return "length"
    if fact.subject and mention(candidate, fact.subject, aliases=fact.subject_aliases, exact=True) is None:
        return "subject missing"
    if mention(candidate, fact.object, aliases=fact.aliases, subject=fact.subject) is not None:
        return "gives the answer away"
    if key(candidate) in {key(other) for other in existing}:
        return "duplicate"
    return _distance_reason(candidate, fact.phrasings, bounds)


def _distance_reason(candidate: str, phrasings: Collection[str], bounds: VariantBounds) -> str | None:
    text, *seeds = (" ".join(word.lower for word in wording(each).words) for each in (candidate, *phrasings))
    edit = min(Levenshtein.normalized_distance(text, seed) for seed in seeds)
    similarity = max(fuzz.token_sort_ratio(text, seed) for seed in seeds) / 100
    if edit < bounds.min_edit or similarity > bounds.max_similarity:
        return "too close"
    return "too far" if edit > bounds.max_edit or similarity < bounds.min_similarity else None
