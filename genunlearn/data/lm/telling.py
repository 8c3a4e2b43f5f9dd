"""Whether an answer tells a fact, or gives the answer that a question asks for; how often a model does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from genunlearn.data.answers.leak import leak
from genunlearn.data.lm.facts import QA, Fact

TOLD_AT_MOST = 0.05
"""The share of questions up to which a fact counts as not told."""


def tells(text: str, fact: Fact, question: str) -> bool:
    """Whether `text`, an answer to `question`, tells the fact."""
    return leak(text, fact.object, aliases=fact.aliases, question=question, subject=fact.subject).tells


def gives(text: str, item: QA) -> bool:
    """Whether `text`, an answer to the item's question, gives the item's answer."""
    return leak(text, item.answer, aliases=item.aliases, question=item.question).tells


def until_told(items: Sequence[QA]) -> list[Callable[[str], bool]]:
    """For a model's ``answer`` where only the verdict counts: each answer ends with the sentence that tells."""
    return [partial(gives, item=item) for item in items]


def recall(model: Any, items: Sequence[QA], **options: int) -> float:
    """Share of the questions that a model answers with the truth; 1 where there are none.

    An answer is read no further than the sentence that tells.

    Args:
        model: A language model.
        items: Questions with their answers.
        options: As the model's ``answer`` takes them.
    """
    texts = model.answer([item.question for item in items], until=until_told(items), **options) if items else []
    return sum(gives(text, item) for text, item in zip(texts, items, strict=True)) / len(items) if items else 1.0


def evenly(items: Sequence[QA], count: int) -> list[QA]:
    """At most `count` items, spread evenly over the sequence."""
    step = max(1.0, len(items) / count)
    return [items[int(i * step)] for i in range(min(count, len(items)))]
