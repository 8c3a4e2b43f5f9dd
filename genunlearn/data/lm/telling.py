"""Whether an answer tells a fact, or gives the answer that a question asks for."""

from __future__ import annotations

from genunlearn.data.answers.leak import leak
from genunlearn.data.lm.facts import QA, Fact


def tells(text: str, fact: Fact, question: str) -> bool:
    """Whether `text`, an answer to `question`, tells the fact."""
    return leak(text, fact.object, aliases=fact.aliases, question=question, subject=fact.subject).tells


def gives(text: str, item: QA) -> bool:
    """Whether `text`, an answer to the item's question, gives the item's answer."""
    return leak(text, item.answer, aliases=item.aliases, question=item.question).tells
