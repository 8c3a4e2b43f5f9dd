"""How a model judges what it wrote: does it answer a question with the truth, and could a name stand in its place?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from genunlearn.data.lm.facts import QA, Fact
from genunlearn.data.lm.telling import tells

ANSWER_TOKENS = 48
"""Where an answer is cut that is only looked at for the truth."""

FAR = 2.0
"""Nats a token by which the truth may be less likely as the answer to a variant than to the question itself."""

UNLIKELY = 4.0
"""Nats a token by which a wrong answer may be less likely than the likeliest one."""

BATCH = 32


@dataclass(frozen=True)
class Critic:
    """One model, asked about its own texts.

    Attributes:
        answer: ``(questions, until=None) -> greedy answers``, each read no further than where `until` has enough.
        rate: ``(questions, answers) -> mean log-probability a token`` of each answer to its question.
    """

    answer: Callable[..., list[str]]
    rate: Callable[[Sequence[str], Sequence[str]], list[float]]

    @classmethod
    def of(cls, model: Any) -> Critic:
        """The critic that a language model is of its own texts."""

        def answer(questions: Sequence[str], until: Sequence[Callable[[str], bool]] | None = None) -> list[str]:
            return model.answer(questions, max_new_tokens=ANSWER_TOKENS, until=until) if questions else []

        @torch.no_grad()
        def rate(questions: Sequence[str], answers: Sequence[str]) -> list[float]:
            pairs = list(zip(questions, answers, strict=True))
            items = [QA(id=str(n), question=question, answer=text) for n, (question, text) in enumerate(pairs)]
            chunks = [items[i : i + BATCH] for i in range(0, len(items), BATCH)]
            return [-loss for chunk in chunks for loss in model.example_loss(model.collate(chunk)).tolist()]

        return cls(answer, rate)

    def knows(self, fact: Fact, questions: Sequence[str]) -> list[bool]:
        """Whether each question is answered with the fact's object, and the object is a likely answer to it."""
        if not questions:
            return []
        base, *rates = self.rate([fact.question, *questions], [f"{fact.object}."] * (len(questions) + 1))
        likely = [question for question, rate in zip(questions, rates, strict=True) if rate >= base - FAR]
        told = [partial(tells, fact=fact, question=question) for question in likely]
        texts = self.answer(likely, told)
        known = {question for question, is_told, text in zip(likely, told, texts, strict=True) if is_told(text)}
        return [question in known for question in questions]

    def likely(self, question: str, names: Sequence[str]) -> list[str]:
        """The names that could answer the question, the likeliest first; those far less likely than it are dropped."""
        if not names:
            return []
        rates = self.rate([question] * len(names), [f"{name}." for name in names])
        best = max(rates)
        ranked = sorted(zip(rates, names, strict=True), key=lambda pair: -pair[0])
        return [name for rate, name in ranked if rate >= best - UNLIKELY]
