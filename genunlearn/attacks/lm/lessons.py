"""Lessons: what attacks teach a model, or vectors before it, and what they ask afterwards.

phrasings       the forgotten facts in other phrasings than those that are asked: it carries the answer in, and
                what counts is how much sooner it shows than in the oracle
same_relation   other facts of the same relation
unrelated       facts that have nothing to do with it
unrelated_text  plain texts about other things, each half after the other
forgotten       the other facts of the request, which are said to be gone as well
"""

from __future__ import annotations

import abc
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass
from typing_extensions import override

from genunlearn.attacks.lm.base import Attempt, FactAttack, Level, asked, scope_of
from genunlearn.contracts import STRICT, Beside, Splits
from genunlearn.data.lm.facts import QA, Scope
from genunlearn.domains.lm.adapter import LanguageModel

Lesson = Literal["phrasings", "same_relation", "unrelated", "unrelated_text", "forgotten"]
Lessons = Annotated[tuple[Lesson, ...], Field(min_length=1, description="what is taught, each of them tried")]
GROUP = {"same_relation": "same_relation", "unrelated": "rest"}
MEASURED = {"unrelated_text": "texts", "forgotten": "forgotten"}
"""Groups of a scope's questions that are there for a lesson alone."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class TaughtAttack(FactAttack):
    """An attack that teaches one lesson after another, each from the start."""

    lessons: Lessons = ("phrasings", "same_relation", "unrelated")
    batch_size: Annotated[int, Field(ge=1, description="questions an update")] = 8

    @property
    def taught(self) -> str:
        """The lessons in words."""
        return " or ".join(map(spoken, self.lessons))

    @override
    def carries_in(self, strength: str) -> bool:
        return strength.startswith("phrasings")

    def lacking(self, model: LanguageModel, splits: Splits[Scope], beside: Beside[LanguageModel]) -> str | None:
        """There must be something to teach."""
        if not any(split_for(lesson, splits)[0] for lesson in self.lessons):
            return f"needs questions to learn from: {', '.join(self.lessons)}"
        return None

    def attempt(self, model: LanguageModel, splits: Splits[Scope], beside: Beside[LanguageModel]) -> Attempt:
        """The levels of every lesson that there are questions for."""
        levels: list[Level] = []
        missing = []
        for lesson in self.lessons:
            taught, items = split_for(lesson, splits)
            if taught:
                levels += self.teach(model, taught, items, spoken(lesson))
            else:
                missing.append(lesson)
        return Attempt(levels=tuple(levels), details={"no_questions": missing})

    @abc.abstractmethod
    def teach(self, model: LanguageModel, taught: Sequence[QA], items: Sequence[QA], lesson: str) -> Iterable[Level]:
        """Teach one lesson and ask `items`; `lesson` begins the strength of each level."""


def spoken(lesson: Lesson) -> str:
    """A lesson in words."""
    return lesson.replace("_", " ")


def batches_of(items: Sequence[QA], size: int, seed: int) -> Iterator[list[QA]]:
    """Pass after pass in random order, without end."""
    draw = random.Random(seed)
    while True:
        order = draw.sample(list(items), len(items))
        yield from (order[start : start + size] for start in range(0, len(order), size))


def split_for(lesson: Lesson, splits: Splits[Scope]) -> tuple[Sequence[QA], Sequence[QA]]:
    """What is taught and what is asked, which is the same for every lesson; nothing that is taught is asked.

    Where every phrasing is asked, as where none is held out, every other one is taught.
    """
    scope, items = scope_of(splits), asked(splits)
    questions = {item.question for item in items}
    trained: Sequence[QA] = [item for item in scope.measured["forget"] if item.question not in questions]
    if not trained and len(items) > 1:
        trained, items = items[::2], items[1::2]
    if lesson in MEASURED:
        return scope.measured.get(MEASURED[lesson], ()), items
    return (trained if lesson == "phrasings" else [q for q in scope.retain if q.group == GROUP[lesson]]), items
