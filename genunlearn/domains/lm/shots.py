"""Answered questions as turns of a conversation before the one that counts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from genunlearn.domains.lm.chat import Message

LONG = 4096
"""Tokens that a context counts as, where the model's configuration does not say."""


class Answered(Protocol):
    """A question with its answer."""

    @property
    def question(self) -> str:
        """What is asked."""

    @property
    def answer(self) -> str:
        """What is right."""


Example = TypeVar("Example", bound=Answered)


def shown(examples: Sequence[Answered]) -> list[Message]:
    """Questions with their answers, as turns of a conversation before the one that counts."""
    sides = (("user", "question"), ("assistant", "answer"))
    return [{"role": role, "content": getattr(item, part)} for item in examples for role, part in sides]


def fitting(model: Any, pool: Sequence[Example], questions: Sequence[str], *, most: int, seed: int) -> list[Example]:
    """As many examples as the context holds before the longest question and its answer.

    Args:
        model: A language model.
        pool: Examples to draw from.
        questions: What is asked after them, at least one.
        most: Examples at most.
        seed: Of which are drawn, and their order.
    """
    drawn = random.Random(seed).sample(pool, min(most, len(pool)))
    room = (getattr(model.network.config, "max_position_embeddings", None) or LONG) - model.longest_answer
    longest: Message = {"role": "user", "content": max(questions, key=len)}
    low, high = 0, len(drawn)
    while low < high:
        middle = (low + high + 1) // 2
        fits = len(model.chat.prompt_ids([*shown(drawn[:middle]), longest])) <= room
        low, high = (middle, high) if fits else (low, middle - 1)
    return drawn[:low]
