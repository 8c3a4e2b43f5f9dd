"""Relearning: a copy of the model is taught a little, and asked on the way.

    phrasings       the forgotten facts in other phrasings than those that are asked: it carries the answer in, and
                    what counts is how much sooner the model relearns it than the oracle learns it
    same_relation   other facts of the same relation
    unrelated       facts that have nothing to do with it

Sources: Lynch et al. (2024); Hu et al., "Unlearning or Obfuscating? Jogging the Memory of Unlearned LLMs via Benign
Relearning" (ICLR 2025); Deeb and Roger, "Do Unlearning Methods Remove Information from Language Model Weights?" (2024).
Deviation: full weights with Adam, a LoRA folded in first.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from typing_extensions import override

from genunlearn.attacks.lm.base import Attempt, FactAttack, Level, answered, asked, copied, is_packed, scope_of
from genunlearn.contracts import STRICT, Beside, Splits
from genunlearn.data.lm.facts import QA, Scope
from genunlearn.domains.lm.adapter import LanguageModel

Lesson = Literal["phrasings", "same_relation", "unrelated"]
GROUP = {"same_relation": "same_relation", "unrelated": "rest"}
Steps = Annotated[int, Field(ge=1)]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Relearning(FactAttack):
    """How much is told after so many updates, one level a lesson and number of updates."""

    name: ClassVar[str] = "relearning"

    lessons: Annotated[tuple[Lesson, ...], Field(min_length=1, description="what is taught, each of them tried")] = (
        "phrasings",
        "same_relation",
        "unrelated",
    )
    marks: Annotated[tuple[Steps, ...], Field(min_length=1, description="updates after which it is asked")] = (
        *(1, 2, 5, 10),
    )
    learning_rate: Annotated[float, Field(gt=0, description="of Adam")] = 2e-5
    batch_size: Annotated[int, Field(ge=1, description="questions an update")] = 8
    seed: Annotated[int, Field(ge=0, description="of the order of the questions, and of dropout")] = 0

    @property
    @override
    def budget(self) -> str:
        taught = " or ".join(lesson.replace("_", " ") for lesson in self.lessons)
        rate = f"{self.learning_rate:g}"
        return f"up to {max(self.marks)} updates of Adam {rate} on {self.batch_size} questions of {taught}"

    @override
    def carries_in(self, strength: str) -> bool:
        return strength.startswith("phrasings")

    def lacking(self, model: LanguageModel, splits: Splits[Scope], beside: Beside[LanguageModel]) -> str | None:
        """The weights must be open to training, and there must be something to teach."""
        if is_packed(model):
            return "quantised weights take no updates"
        if not any(split_for(lesson, splits)[0] for lesson in self.lessons):
            return f"needs questions to learn from: {', '.join(self.lessons)}"
        return None

    def attempt(self, model: LanguageModel, splits: Splits[Scope], beside: Beside[LanguageModel]) -> Attempt:
        """The curve of every lesson that there are questions for."""
        levels, missing = [], []
        for lesson in self.lessons:
            taught, items = split_for(lesson, splits)
            if taught:
                levels += list(self._learn(model, taught, items, lesson.replace("_", " ")))
            else:
                missing.append(lesson)
        return Attempt(levels=tuple(levels), details={"no_questions": missing})

    def _learn(self, model: LanguageModel, taught: Sequence[QA], items: Sequence[QA], lesson: str) -> Iterator[Level]:
        student = copied(model)
        student.module.requires_grad_(True)
        optimizer = torch.optim.Adam(student.module.parameters(), lr=self.learning_rate)
        batches = batches_of(taught, self.batch_size, self.seed)
        with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []), torch.enable_grad():
            torch.manual_seed(self.seed)
            for step in range(1, max(self.marks) + 1):
                student.module.train()
                loss = student.example_loss(student.collate(next(batches))).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if step in self.marks:
                    student.module.eval()
                    yield answered(student, items, f"{lesson}, {step} step{'s' if step > 1 else ''}")


def batches_of(items: Sequence[QA], size: int, seed: int) -> Iterator[list[QA]]:
    """Pass after pass in random order, without end."""
    draw = random.Random(seed)
    while True:
        order = draw.sample(list(items), len(items))
        yield from (order[start : start + size] for start in range(0, len(order), size))


def split_for(lesson: Lesson, splits: Splits[Scope]) -> tuple[Sequence[QA], Sequence[QA]]:
    """What is taught and what is asked: phrasings held out, or every other one where none are.

    Nothing that is taught is asked.
    """
    scope, items = scope_of(splits), asked(splits)
    trained: Sequence[QA] = scope.measured["forget"]
    if not scope.measured.get("forget_heldout") and len(items) > 1:
        trained, items = items[::2], items[1::2]
    if lesson != "phrasings":
        return [item for item in scope.retain if item.group == GROUP[lesson]], items
    questions = {item.question for item in items}
    return [item for item in trained if item.question not in questions], items
